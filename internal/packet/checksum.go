package packet

import (
	"net/netip"

	"l3extract/l3conn/checksum"
)

// Checksum returns the ones' complement sum of b, as big-endian 16-bit words with
// an odd last byte padded by zero, added to initial (RFC 1071). It is not inverted:
// the value of a checksum field is ^Checksum over the header with that field 0, and
// Checksum over correct data, field included, is 0xffff.
//
// Sums can be chained through initial as long as all pieces but the last have an
// even length.
func Checksum(b []byte, initial uint32) uint16 {
	return checksum.Fold(uint64(initial) + uint64(checksum.Sum(b)))
}

// PseudoHeader returns the part of a TCP, UDP or ICMPv6 checksum that covers the
// addresses, the protocol and the length of the transport header with its payload,
// for use as the initial value of [Checksum] (RFC 9293 3.1, RFC 8200 8.1). Both
// addresses are of one IP version; IPv4-mapped ones count as IPv6.
func PseudoHeader(src, dst netip.Addr, proto uint8, length int) uint32 {
	var s uint32
	if src.Is4() && dst.Is4() {
		a, b := src.As4(), dst.As4()
		s = uint32(checksum.Sum(a[:])) + uint32(checksum.Sum(b[:]))
	} else {
		a, b := src.As16(), dst.As16()
		s = uint32(checksum.Sum(a[:])) + uint32(checksum.Sum(b[:]))
	}
	return s + pseudoTail(proto, length)
}

// pseudoTail is the part of the pseudo header behind the addresses. The lengths of
// IPv6 have 32 bits there.
func pseudoTail(proto uint8, length int) uint32 {
	return uint32(proto) + uint32(length)>>16 + uint32(length)&0xffff
}

// ChecksumOK reports whether the checksums of a decoded packet are right: the IPv4
// header's and, unless it is a fragment, that of TCP, UDP or ICMP. IPv4 allows UDP
// without a checksum (RFC 768).
func (p *Packet) ChecksumOK() bool {
	if p.Version == 4 && checksum.Sum(p.Raw[:p.HeaderLen]) != 0xffff {
		return false
	}
	if p.Fragment {
		return true
	}
	data := p.L4
	switch p.Proto {
	case ICMPv4:
		return checksum.Sum(data) == 0xffff
	case UDP:
		if p.Version == 4 && data[6] == 0 && data[7] == 0 {
			return true
		}
		data = data[:udpHeaderLen+len(p.Payload)]
	case TCP, ICMPv6:
	default:
		return true
	}
	return Checksum(data, uint32(checksum.Sum(addresses(p.Raw)))+pseudoTail(p.Proto, len(data))) == 0xffff
}

// addresses returns both addresses of an IP header, which lie side by side.
func addresses(pkt []byte) []byte {
	if pkt[0]>>4 == 4 {
		return pkt[12:v4HeaderLen]
	}
	return pkt[8:v6HeaderLen]
}

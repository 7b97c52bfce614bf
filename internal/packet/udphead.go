package packet

import (
	"encoding/binary"
	"net/netip"

	"l3extract/l3conn/checksum"
)

// MaxUDPHeaders is the length of the longest headers that [PutUDPHeaders] writes.
const MaxUDPHeaders = v6HeaderLen + udpHeaderLen

// PutUDPHeaders writes the IP and UDP headers of a datagram from src to to, with
// payload bytes to follow, or of a run of datagrams behind one header that has so
// many in all, and returns their length and where the UDP header begins. The UDP
// checksum field holds the folded, not inverted sum of the pseudo header, to which
// somebody has still to add the rest. id is for IPv4 only. It returns 0 when there
// is no such packet. Addresses are neither IPv4-mapped nor do they have a zone.
func PutUDPHeaders(b *[MaxUDPHeaders]byte, src, to netip.AddrPort, ttl, tos uint8, id uint16, payload int) (n, start int) {
	length := udpHeaderLen + payload
	var sums uint32
	switch s, d := src.Addr(), to.Addr(); {
	case s.Is4() && d.Is4() && v4HeaderLen+length <= maxPacket:
		b[0], b[1] = 0x45, tos
		binary.BigEndian.PutUint16(b[2:], uint16(v4HeaderLen+length))
		binary.BigEndian.PutUint16(b[4:], id)
		b[6], b[7], b[8], b[9], b[10], b[11] = 0, 0, ttl, UDP, 0, 0
		*(*[4]byte)(b[12:]), *(*[4]byte)(b[16:]) = s.As4(), d.As4()
		binary.BigEndian.PutUint16(b[10:], ^checksum.Sum(b[:v4HeaderLen]))
		start, sums = v4HeaderLen, uint32(checksum.Sum(b[12:v4HeaderLen]))
	case s.Is6() && d.Is6() && length <= maxPacket:
		binary.BigEndian.PutUint32(b[0:], 6<<28|uint32(tos)<<20)
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		b[6], b[7] = UDP, ttl
		*(*[16]byte)(b[8:]), *(*[16]byte)(b[24:]) = s.As16(), d.As16()
		start, sums = v6HeaderLen, uint32(checksum.Sum(b[8:v6HeaderLen]))
	default:
		return 0, 0
	}
	h := b[start : start+udpHeaderLen]
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(length))
	binary.BigEndian.PutUint16(h[6:], checksum.Fold(uint64(sums)+uint64(pseudoTail(UDP, length))))
	return start + udpHeaderLen, start
}

// FinishUDP sets the checksum of a UDP header that [PutUDPHeaders] wrote, behind
// which comes payload.
func FinishUDP(header, payload []byte) {
	// The field with the pseudo header's sum is part of what is summed. The header
	// has an even length, so the sums can be added.
	c := ^Checksum(payload, uint32(checksum.Sum(header[:udpHeaderLen])))
	if c == 0 {
		c = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(header[6:], c)
}

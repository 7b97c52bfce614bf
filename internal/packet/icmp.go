package packet

import (
	"encoding/binary"
	"math"
	"net/netip"

	"l3extract/internal/drop"
)

// An Unreachable is the kind of an ICMP error, the same for both IP versions. The
// zero value is none.
type Unreachable uint8

// The kinds, with type and code in IPv4 | IPv6 (RFC 792, RFC 1122, RFC 1812; RFC 4443).
const (
	NetUnreachable      Unreachable = iota + 1 // 3/0 | 1/0
	HostUnreachable                            // 3/1 | 1/3
	PortUnreachable                            // 3/3 | 1/4
	AdminProhibited                            // 3/13 | 1/1
	ProtocolUnreachable                        // 3/2 | 4/1
	TooBig                                     // 3/4 | 2/0, with the MTU
	TimeExceeded                               // 11/0 | 3/0
	OtherError                                 // read only: any other error, see type and code
)

// String returns the kind in a few words.
func (u Unreachable) String() string {
	switch u {
	case NetUnreachable:
		return "network unreachable"
	case HostUnreachable:
		return "host unreachable"
	case PortUnreachable:
		return "port unreachable"
	case AdminProhibited:
		return "administratively prohibited"
	case ProtocolUnreachable:
		return "protocol unreachable"
	case TooBig:
		return "packet too big"
	case TimeExceeded:
		return "time exceeded"
	case OtherError:
		return "other ICMP error"
	}
	return "no ICMP error"
}

// wire returns type and code, ok=false for a kind that cannot be sent.
func (u Unreachable) wire(version uint8) (typ, code uint8, ok bool) {
	type pair struct{ typ, code uint8 }
	var four, six pair
	switch u {
	case NetUnreachable:
		four, six = pair{3, 0}, pair{1, 0}
	case HostUnreachable:
		four, six = pair{3, 1}, pair{1, 3}
	case PortUnreachable:
		four, six = pair{3, 3}, pair{1, 4}
	case AdminProhibited:
		four, six = pair{3, 13}, pair{1, 1}
	case ProtocolUnreachable:
		four, six = pair{3, 2}, pair{4, 1}
	case TooBig:
		four, six = pair{3, 4}, pair{2, 0}
	case TimeExceeded:
		four, six = pair{11, 0}, pair{3, 0}
	default:
		return 0, 0, false
	}
	if version == 4 {
		return four.typ, four.code, true
	}
	return six.typ, six.code, true
}

// kindOf groups types and codes by what they mean for a sender, much as kernels map
// them to errno.
func kindOf(version, typ, code uint8) Unreachable {
	switch {
	case version == 4 && typ == 3:
		switch code {
		case 0, 6, 8, 11:
			return NetUnreachable
		case 1, 5, 7, 12:
			return HostUnreachable
		case 2:
			return ProtocolUnreachable
		case 3:
			return PortUnreachable
		case 4:
			return TooBig
		case 9, 10, 13:
			return AdminProhibited
		}
	case version == 4 && typ == 11 && code == 0:
		return TimeExceeded
	case version == 6 && typ == 1:
		switch code {
		case 0:
			return NetUnreachable
		case 2, 3:
			return HostUnreachable
		case 4:
			return PortUnreachable
		case 1, 5, 6:
			return AdminProhibited
		}
	case version == 6 && typ == 2:
		return TooBig
	case version == 6 && typ == 3 && code == 0:
		return TimeExceeded
	case version == 6 && typ == 4 && code == 1:
		return ProtocolUnreachable
	}
	return OtherError
}

// AppendICMPError appends an ICMP error about the packet quoted, sent by from to its
// source. quoted begins with its IP header and may be cut short, as long as the
// transport header begins; mtu counts for [TooBig] only. As much is quoted as fits
// in 576 bytes (IPv4, RFC 1812 4.3.2.3) or 1280 (IPv6, RFC 4443 2.4).
//
// Nothing is appended when from is of another IP version or no address of one host,
// kind cannot be sent, or quoted must not be answered: it cannot be read, is an ICMP
// error itself or a fragment that is not the first, or its source is not one host or
// its destination is multicast or broadcast (RFC 1122 3.2.2).
func AppendICMPError(dst []byte, from netip.Addr, kind Unreachable, quoted []byte, mtu int) []byte {
	from = from.Unmap()
	var q quote
	if !q.read(quoted) {
		return dst
	}
	typ, code, ok := kind.wire(q.version)
	if !ok || !isHost(from) || from.Is4() != q.src.Is4() || !isHost(q.src) || q.dst.IsMulticast() ||
		q.dst.Is4() && !isHost(q.dst) {
		return dst
	}
	if (q.proto == ICMPv4 || q.proto == ICMPv6) && (len(q.l4) == 0 || isICMPError(q.proto, q.l4[0])) {
		return dst
	}
	h := ipHeader{src: from, dst: q.src, proto: ICMPv4, tos: 0xc0} // internetwork control, RFC 1812 4.3.2.5
	limit := 576 - v4HeaderLen - icmpHeaderLen
	if q.version == 6 {
		h.proto, h.tos = ICMPv6, 0
		limit = 1280 - v6HeaderLen - icmpHeaderLen
	}
	quoted = quoted[:min(len(quoted), q.total, limit)]
	b, l4 := appendIP(dst, h, icmpHeaderLen+len(quoted))
	if l4 == 0 {
		return dst
	}
	msg := b[l4:]
	msg[0], msg[1] = typ, code
	rest := uint32(0)
	switch {
	case kind == TooBig && q.version == 4:
		rest = uint32(min(max(mtu, 0), math.MaxUint16))
	case kind == TooBig:
		rest = uint32(min(max(mtu, 0), math.MaxInt32))
	case kind == ProtocolUnreachable && q.version == 6:
		rest = uint32(q.protoAt) // a parameter problem points at the field nobody knows
	}
	binary.BigEndian.PutUint32(msg[4:], rest)
	copy(msg[icmpHeaderLen:], quoted)
	finishICMP(b[len(dst):], msg, h.proto)
	return b
}

// An ICMPError is what an ICMP error says about a packet that we sent.
type ICMPError struct {
	// Src and Dst are those of the quoted packet: Src is our end. The ports are 0
	// when it is neither TCP nor UDP.
	Src, Dst netip.AddrPort
	// From is who sent the error.
	From netip.Addr
	// MTU is that of the link which was too small, for [TooBig] only, as the sender
	// says: it may be anything from 0 on.
	MTU int
	// Seq is the quoted TCP sequence number.
	Seq uint32
	// Kind is what the error means, Type and Code what it says.
	Kind       Unreachable
	Type, Code uint8
	// Proto is the protocol of the quoted packet.
	Proto uint8
}

// ParseICMPError reads the error that the decoded packet p carries. ok is false when
// p is no whole ICMP error about another packet (a redirect or a source quench is
// none), when it does not quote at least 8 bytes of a transport header, when the
// quoted packet was not sent from the address that p went to, or when it was a
// fragment that is not the first. Nothing says that the packet quoted was really
// sent: the caller must ask its flows (RFC 5927).
func ParseICMPError(p *Packet) (e ICMPError, ok bool) {
	if p.Fragment || !p.IsICMPError() {
		return ICMPError{}, false
	}
	if p.Proto == ICMPv4 && (p.ICMPType == 4 || p.ICMPType == 5) || p.Proto == ICMPv6 && p.ICMPType == 137 {
		return ICMPError{}, false
	}
	var q quote
	if !q.read(p.Payload) || q.version != p.Version || q.src != p.Dst || len(q.l4) < 8 {
		return ICMPError{}, false
	}
	e = ICMPError{
		Src:   netip.AddrPortFrom(q.src, 0),
		Dst:   netip.AddrPortFrom(q.dst, 0),
		From:  p.Src,
		Kind:  kindOf(p.Version, p.ICMPType, p.ICMPCode),
		Type:  p.ICMPType,
		Code:  p.ICMPCode,
		Proto: q.proto,
	}
	if e.Kind == TooBig {
		e.MTU = int(min(p.ICMPRest, math.MaxInt32))
		if p.Version == 4 {
			e.MTU = int(p.ICMPRest & 0xffff)
		}
	}
	if q.proto == TCP || q.proto == UDP {
		e.Src = netip.AddrPortFrom(q.src, binary.BigEndian.Uint16(q.l4))
		e.Dst = netip.AddrPortFrom(q.dst, binary.BigEndian.Uint16(q.l4[2:]))
	}
	if q.proto == TCP {
		e.Seq = binary.BigEndian.Uint32(q.l4[4:])
	}
	return e, true
}

// A quote is what can be read of a packet that may be cut short.
type quote struct {
	src, dst netip.Addr
	l4       []byte // what is there of it
	total    int    // length by its IP header
	protoAt  int    // offset of the field that names proto
	version  uint8
	proto    uint8
}

// read reads the quoted packet b up to its transport header. A fragment that is not
// the first has none.
func (q *quote) read(b []byte) bool {
	if len(b) < v4HeaderLen {
		return false
	}
	q.version = b[0] >> 4
	switch q.version {
	case 4:
		header := int(b[0]&15) * 4
		q.total = int(binary.BigEndian.Uint16(b[2:]))
		if header < v4HeaderLen || header > len(b) || q.total < header || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return false
		}
		q.src = netip.AddrFrom4([4]byte(b[12:16]))
		q.dst = netip.AddrFrom4([4]byte(b[16:20]))
		q.proto, q.protoAt = b[9], 9
		q.l4 = b[header:min(len(b), q.total)]
		return true
	case 6:
		if len(b) < v6HeaderLen {
			return false
		}
		q.total = v6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
		b = b[:min(len(b), q.total)]
		var c chain
		if c.walk(b) != drop.None || c.fragOffset > 0 {
			return false
		}
		q.src = netip.AddrFrom16([16]byte(b[8:24]))
		q.dst = netip.AddrFrom16([16]byte(b[24:40]))
		q.proto, q.protoAt = c.proto, c.protoAt
		q.l4 = b[c.off:]
		return true
	}
	return false
}

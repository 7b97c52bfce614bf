package packet

import (
	"encoding/binary"
	"net/netip"

	"l3extract/l3conn/checksum"
)

// An EchoHeader says what [AppendEcho] builds.
type EchoHeader struct {
	Src, Dst netip.Addr
	ID, Seq  uint16
	// FragID is the identification of an IPv4 packet.
	FragID uint16
	TTL    uint8 // 0: DefaultTTL
	TOS    uint8
	Reply  bool // else a request
}

// AppendEcho appends an ICMP echo request or reply. Nothing is appended when the
// addresses are not of two hosts of one IP version or the packet would be too long.
func AppendEcho(dst []byte, h EchoHeader, payload []byte) []byte {
	src, to := h.Src.Unmap(), h.Dst.Unmap()
	if !isHost(src) || !isHost(to) {
		return dst
	}
	proto, typ := ICMPv6, EchoRequest6
	switch {
	case src.Is4() && h.Reply:
		proto, typ = ICMPv4, EchoReply4
	case src.Is4():
		proto, typ = ICMPv4, EchoRequest4
	case h.Reply:
		typ = EchoReply6
	}
	b, l4 := appendIP(dst, ipHeader{
		src: src, dst: to, proto: proto, ttl: h.TTL, tos: h.TOS, id: h.FragID,
	}, icmpHeaderLen+len(payload))
	if l4 == 0 {
		return dst
	}
	PutEcho(b[l4:], typ, h.ID, h.Seq)
	copy(b[l4+icmpHeaderLen:], payload)
	finishICMP(b[len(dst):], b[l4:], proto)
	return b
}

// EchoLen is the length of the header of an ICMP echo message, in bytes.
const EchoLen = icmpHeaderLen

// PutEcho writes the header of an echo message of type typ, with no checksum, into b,
// which has at least [EchoLen] bytes.
func PutEcho(b []byte, typ uint8, id, seq uint16) {
	b[0], b[1], b[2], b[3] = typ, 0, 0, 0
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
}

// ReadEcho reads the header of the echo message b of a family; ok is false when it is
// none, or cut before its payload. A request is one, too: ICMP errors quote them.
func ReadEcho(b []byte, v6 bool) (id, seq uint16, reply, ok bool) {
	if len(b) < icmpHeaderLen || b[1] != 0 {
		return 0, 0, false, false
	}
	request, answer := EchoRequest4, EchoReply4
	if v6 {
		request, answer = EchoRequest6, EchoReply6
	}
	if b[0] != request && b[0] != answer {
		return 0, 0, false, false
	}
	return binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), b[0] == answer, true
}

// AppendIP appends a packet of any protocol, whose payload is what follows the IP
// header. The checksum of ICMP is set, that of any other protocol is the caller's.
// Nothing is appended when the addresses are not of one IP version, the packet would
// be too long, or an ICMP message is shorter than its header.
func AppendIP(dst []byte, src, to netip.Addr, proto, ttl, tos uint8, payload []byte) []byte {
	icmp := proto == ICMPv4 && src.Unmap().Is4() || proto == ICMPv6 && !src.Unmap().Is4()
	if icmp && len(payload) < icmpHeaderLen {
		return dst
	}
	b, l4 := appendIP(dst, ipHeader{src: src, dst: to, proto: proto, ttl: ttl, tos: tos}, len(payload))
	if l4 == 0 {
		return dst
	}
	copy(b[l4:], payload)
	if icmp {
		finishICMP(b[len(dst):], b[l4:], proto)
	}
	return b
}

// Identify sets the identification of the IPv4 packet pkt, which is 0 and whose header
// checksum must be right, and keeps that so. IPv6 has none: nothing happens.
func Identify(pkt []byte, id uint16) {
	if len(pkt) < v4HeaderLen || pkt[0]>>4 != 4 {
		return
	}
	binary.BigEndian.PutUint16(pkt[4:], id)
	c := ^binary.BigEndian.Uint16(pkt[10:])
	binary.BigEndian.PutUint16(pkt[10:], ^checksum.Fold(uint64(c)+uint64(id))) // RFC 1624
}

package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"l3extract/l3conn/checksum"
)

// The builders append one whole IP packet to dst and return the longer slice; they
// return dst unchanged when there is no such packet. They unmap IPv4-mapped IPv6
// addresses, which have no business on the wire, ignore zones, and take a TTL of 0
// as [DefaultTTL]. What they read must not lie in the spare capacity of dst. They
// allocate only when dst has no room.

// A TCPHeader says what [AppendTCP] builds.
type TCPHeader struct {
	Src, Dst netip.AddrPort
	Seq, Ack uint32
	// Options are at most 40 bytes; they are padded to a multiple of 4 with the end
	// of options.
	Options []byte
	Window  uint16
	Urgent  uint16
	Flags   uint8
	TTL     uint8 // 0: DefaultTTL
	TOS     uint8
}

// AppendUDP appends a UDP datagram from src to to. Nothing is appended when the
// addresses are not of one IP version or the payload is larger than 65507 bytes
// (IPv4) or 65527 (IPv6).
//
// An IPv4 datagram leaves with identification 0 and may be fragmented on its way. If
// it fits its link, call [SetDontFragment] on it, else [Fragment], as kernels do;
// identification 0 is only unique for a datagram that nobody fragments (RFC 6864).
func AppendUDP(dst []byte, src, to netip.AddrPort, ttl, tos uint8, payload []byte) []byte {
	length := udpHeaderLen + len(payload)
	b, l4 := appendIP(dst, ipHeader{src: src.Addr(), dst: to.Addr(), proto: UDP, ttl: ttl, tos: tos}, length)
	if l4 == 0 {
		return dst
	}
	h := (*[udpHeaderLen]byte)(b[l4:])
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(length))
	binary.BigEndian.PutUint16(h[6:], 0)
	copy(b[l4+udpHeaderLen:], payload)
	c := ^transportSum(b[len(dst):], b[l4:], UDP)
	if c == 0 {
		c = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(h[6:], c)
	return b
}

// AppendTCP appends a TCP segment. Nothing is appended when the addresses are not of
// one IP version, the options are too long, or it exceeds the largest IP packet.
func AppendTCP(dst []byte, h TCPHeader, payload []byte) []byte {
	header := tcpHeaderLen + (len(h.Options)+3)&^3
	if header > 60 {
		return dst
	}
	b, l4 := appendIP(dst, ipHeader{
		src: h.Src.Addr(), dst: h.Dst.Addr(), proto: TCP, ttl: h.TTL, tos: h.TOS, dontFragment: true,
	}, header+len(payload))
	if l4 == 0 {
		return dst
	}
	seg := b[l4:]
	binary.BigEndian.PutUint16(seg[0:], h.Src.Port())
	binary.BigEndian.PutUint16(seg[2:], h.Dst.Port())
	binary.BigEndian.PutUint32(seg[4:], h.Seq)
	binary.BigEndian.PutUint32(seg[8:], h.Ack)
	seg[12] = uint8(header/4) << 4
	seg[13] = h.Flags
	binary.BigEndian.PutUint16(seg[14:], h.Window)
	binary.BigEndian.PutUint16(seg[16:], 0)
	binary.BigEndian.PutUint16(seg[18:], h.Urgent)
	n := tcpHeaderLen + copy(seg[tcpHeaderLen:header], h.Options)
	clear(seg[n:header])
	copy(seg[header:], payload)
	binary.BigEndian.PutUint16(seg[16:], ^transportSum(b[len(dst):], seg, TCP))
	return b
}

// AppendReset appends the RST that answers p when there is no connection (RFC 9293
// 3.10.7.1). Nothing is appended when p is an RST, a fragment, not TCP, or came from
// or went to an address that is not one host's.
func AppendReset(dst []byte, p *Packet) []byte {
	if p.Proto != TCP || p.Fragment || p.Flags&RST != 0 || !isHost(p.Src) || !isHost(p.Dst) {
		return dst
	}
	h := TCPHeader{Src: p.DstAddrPort(), Dst: p.SrcAddrPort(), Flags: RST}
	if p.Flags&ACK != 0 {
		h.Seq = p.Ack
	} else {
		h.Flags |= ACK
		h.Ack = p.Seq + uint32(len(p.Payload)) +
			uint32(p.Flags>>1&1) + uint32(p.Flags&1) // SYN and FIN take a number each
	}
	return AppendTCP(dst, h, nil)
}

// AppendEchoReply appends the reply to the echo request p, from the address that was
// asked, with the request's identifier, number, payload and TOS. Nothing is appended
// when p is no whole echo request or did not go from one host to one host.
func AppendEchoReply(dst []byte, p *Packet) []byte {
	if !p.IsEchoRequest() || !isHost(p.Src) || !isHost(p.Dst) {
		return dst
	}
	b, l4 := appendIP(dst, ipHeader{
		src: p.Dst, dst: p.Src, proto: p.Proto, tos: p.TOS, id: uint16(p.FragID),
	}, len(p.L4))
	if l4 == 0 {
		return dst
	}
	msg := b[l4:]
	copy(msg, p.L4)
	msg[0] = EchoReply4
	if p.Version == 6 {
		msg[0] = EchoReply6
	}
	finishICMP(b[len(dst):], msg, p.Proto)
	return b
}

// SetDontFragment sets the DF flag of the IPv4 packet pkt, whose header checksum
// must be right, and keeps it so. IPv6 has no such flag: nothing happens.
func SetDontFragment(pkt []byte) {
	if len(pkt) < v4HeaderLen || pkt[0]>>4 != 4 || pkt[6]&0x40 != 0 {
		return
	}
	pkt[6] |= 0x40
	// RFC 1624: HC' = ~(~HC + ~m + m'), and m' - m is 0x4000.
	c := ^binary.BigEndian.Uint16(pkt[10:])
	binary.BigEndian.PutUint16(pkt[10:], ^checksum.Fold(uint64(c)+0x4000))
}

// An ipHeader says what appendIP builds.
type ipHeader struct {
	src, dst     netip.Addr
	id           uint16 // IPv4 only
	proto        uint8
	ttl, tos     uint8
	dontFragment bool // IPv4 only
}

// appendIP appends an IP header without options and length bytes of whatever dst's
// memory held, and returns the offset of the latter, 0 when there is no such packet.
func appendIP(dst []byte, h ipHeader, length int) ([]byte, int) {
	src, to := h.src.Unmap(), h.dst.Unmap()
	if h.ttl == 0 {
		h.ttl = DefaultTTL
	}
	start := len(dst)
	switch {
	case src.Is4() && to.Is4() && v4HeaderLen+length <= maxPacket:
		dst = slices.Grow(dst, v4HeaderLen+length)[:start+v4HeaderLen+length]
		b := (*[v4HeaderLen]byte)(dst[start:])
		b[0] = 0x45
		b[1] = h.tos
		binary.BigEndian.PutUint16(b[2:], uint16(v4HeaderLen+length))
		binary.BigEndian.PutUint16(b[4:], h.id)
		binary.BigEndian.PutUint16(b[6:], 0)
		if h.dontFragment {
			b[6] = 0x40
		}
		b[8] = h.ttl
		b[9] = h.proto
		binary.BigEndian.PutUint16(b[10:], 0)
		*(*[4]byte)(b[12:]) = src.As4()
		*(*[4]byte)(b[16:]) = to.As4()
		binary.BigEndian.PutUint16(b[10:], ^checksum.Sum(b[:]))
		return dst, start + v4HeaderLen
	case src.Is6() && to.Is6() && length <= maxPacket:
		dst = slices.Grow(dst, v6HeaderLen+length)[:start+v6HeaderLen+length]
		b := (*[v6HeaderLen]byte)(dst[start:])
		binary.BigEndian.PutUint32(b[0:], 6<<28|uint32(h.tos)<<20)
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		b[6] = h.proto
		b[7] = h.ttl
		*(*[16]byte)(b[8:]) = src.As16()
		*(*[16]byte)(b[24:]) = to.As16()
		return dst, start + v6HeaderLen
	}
	return dst, 0
}

// transportSum is the sum over pseudo header and l4 of the packet pkt, which has
// neither options nor extension headers.
func transportSum(pkt, l4 []byte, proto uint8) uint16 {
	return Checksum(l4, uint32(checksum.Sum(addresses(pkt)))+pseudoTail(proto, len(l4)))
}

// finishICMP sets the checksum of the ICMP message msg in pkt.
func finishICMP(pkt, msg []byte, proto uint8) {
	msg[2], msg[3] = 0, 0
	s := checksum.Sum(msg)
	if proto == ICMPv6 {
		s = transportSum(pkt, msg, proto)
	}
	binary.BigEndian.PutUint16(msg[2:], ^s)
}

// isHost reports whether a can be the address of one host: packets from or to any
// other are not answered (RFC 1122 3.2.2, RFC 4443 2.4).
func isHost(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
		return false
	}
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first < 240
	}
	return true
}

package packet

import "net/netip"

// The upper-layer protocols that are decoded (IANA protocol numbers).
const (
	ICMPv4 uint8 = 1
	TCP    uint8 = 6
	UDP    uint8 = 17
	ICMPv6 uint8 = 58
)

// The TCP flags (RFC 9293 3.1).
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// The ICMP types that are told apart outside of errors (RFC 792, RFC 4443).
const (
	EchoReply4   uint8 = 0
	EchoRequest4 uint8 = 8
	EchoRequest6 uint8 = 128
	EchoReply6   uint8 = 129
)

// DefaultTTL is the TTL or hop limit of packets built here without another one
// (RFC 1700 and every kernel).
const DefaultTTL = 64

// MaxReset is the most that AppendReset appends, in bytes.
const MaxReset = v6HeaderLen + tcpHeaderLen

const (
	v4HeaderLen   = 20
	v6HeaderLen   = 40
	udpHeaderLen  = 8
	tcpHeaderLen  = 20
	icmpHeaderLen = 8
	maxPacket     = 65535
)

// A Packet is the decoded view of one IP packet. Its slices alias the bytes given
// to [Packet.Decode] and are valid as long as those are. It may be reused: Decode
// overwrites everything. It must not be used by two goroutines at once while one
// of them decodes.
type Packet struct {
	// Raw is the packet, exactly as long as its IP header says; padding behind it
	// is cut.
	Raw []byte
	// L4 is Raw from the transport header on: Raw[HeaderLen:]. In a fragment that
	// is not the first it is the fragment's data.
	L4 []byte
	// Payload is what TCP or UDP carry, or what follows the 8 bytes of an ICMP
	// header. It is nil in a fragment that is not the first.
	Payload []byte

	// Src and Dst are the addresses of the IP header, never with a zone. IPv4-mapped
	// IPv6 addresses stay what they are.
	Src, Dst netip.Addr

	// HeaderLen is the offset of the transport header in Raw: the IP header with its
	// options or extension headers.
	HeaderLen int
	// FragOffset is the offset of a fragment's data in the whole, in bytes.
	FragOffset int
	// FragID is the identification: 16 bits of every IPv4 header, 32 of an IPv6
	// fragment header, else 0.
	FragID uint32

	// TCPHeaderLen is the length of the TCP header with its options, in bytes.
	TCPHeaderLen int
	// Seq and Ack are TCP's sequence and acknowledgment number.
	Seq, Ack uint32
	// ICMPRest is the second word of an ICMP header: identifier and sequence number
	// of an echo, MTU of a "too big".
	ICMPRest uint32
	// SrcPort and DstPort belong to TCP and UDP; 0 in a fragment that is not the first.
	SrcPort, DstPort uint16
	// Window is TCP's window field, unscaled.
	Window uint16

	// Version is 4 or 6.
	Version uint8
	// Proto is the upper-layer protocol, behind all extension headers. In an IPv6
	// fragment that is not the first it is what the fragment header names, which may
	// be one more extension header.
	Proto uint8
	// TTL is the TTL or hop limit, TOS the type of service or traffic class.
	TTL, TOS uint8
	// Flags are TCP's flags.
	Flags uint8
	// ICMPType and ICMPCode belong to ICMP of either version.
	ICMPType, ICMPCode uint8

	// Options says that there are IPv4 options or any IPv6 extension header.
	Options bool
	// Fragment says that reassembly is needed. A whole packet that carries a fragment
	// header (atomic fragment, RFC 6946) is none.
	Fragment bool
	// MoreFragments says that this is not the last fragment.
	MoreFragments bool
}

// SrcAddrPort returns the source; the port is 0 where there is none.
func (p *Packet) SrcAddrPort() netip.AddrPort { return netip.AddrPortFrom(p.Src, p.SrcPort) }

// DstAddrPort returns the destination; the port is 0 where there is none.
func (p *Packet) DstAddrPort() netip.AddrPort { return netip.AddrPortFrom(p.Dst, p.DstPort) }

// IsSYN reports whether p opens a TCP connection: SYN and neither ACK, RST nor FIN.
func (p *Packet) IsSYN() bool {
	return p.Proto == TCP && p.Flags&(SYN|ACK|RST|FIN) == SYN
}

// IsEchoRequest reports whether p is a whole ICMP echo request of its IP version.
func (p *Packet) IsEchoRequest() bool {
	switch {
	case p.Fragment || p.ICMPCode != 0:
		return false
	case p.Proto == ICMPv4:
		return p.ICMPType == EchoRequest4
	case p.Proto == ICMPv6:
		return p.ICMPType == EchoRequest6
	}
	return false
}

// IsICMPError reports whether p is an ICMP message about another packet, as opposed
// to a query or an answer. Errors are never answered (RFC 1122 3.2.2, RFC 4443 2.4).
func (p *Packet) IsICMPError() bool {
	if p.Fragment && p.FragOffset > 0 {
		return false
	}
	return isICMPError(p.Proto, p.ICMPType)
}

func isICMPError(proto, typ uint8) bool {
	switch proto {
	case ICMPv4:
		switch typ {
		case 3, 4, 5, 11, 12: // unreachable, source quench, redirect, time exceeded, parameter problem
			return true
		}
	case ICMPv6:
		return typ < 128 || typ == 137 // redirect
	}
	return false
}

// TCPOptions returns the option bytes of a TCP header, nil when there are none.
func (p *Packet) TCPOptions() []byte {
	if p.TCPHeaderLen <= tcpHeaderLen {
		return nil
	}
	return p.L4[tcpHeaderLen:p.TCPHeaderLen]
}

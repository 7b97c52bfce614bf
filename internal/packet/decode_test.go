package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"l3extract/internal/drop"
)

func TestDecodeTCP(t *testing.T) {
	for _, version := range []int{4, 6} {
		src, dst := ends(version)
		b := AppendTCP(nil, TCPHeader{
			Src: src, Dst: dst, Seq: 0xdeadbeef, Ack: 0x01020304, Flags: SYN | ECE, Window: 0x8001,
			TTL: 9, TOS: 0xb8, Options: []byte{2, 4, 5, 180, 1},
		}, []byte("hello"))
		p := mustBeRight(t, append(b, "padding"...)[:len(b)])
		if int(p.Version) != version || p.Proto != TCP || p.TTL != 9 || p.TOS != 0xb8 || p.Options || p.Fragment {
			t.Errorf("IP header read as %+v", p)
		}
		if p.SrcAddrPort() != src || p.DstAddrPort() != dst {
			t.Errorf("ends %v %v, want %v %v", p.SrcAddrPort(), p.DstAddrPort(), src, dst)
		}
		if p.Seq != 0xdeadbeef || p.Ack != 0x01020304 || p.Flags != SYN|ECE || p.Window != 0x8001 || p.TCPHeaderLen != 28 {
			t.Errorf("TCP header read as %+v", p)
		}
		if string(p.Payload) != "hello" || !bytes.Equal(p.TCPOptions(), []byte{2, 4, 5, 180, 1, 0, 0, 0}) || !p.IsSYN() {
			t.Errorf("payload %q, options %v, SYN %v", p.Payload, p.TCPOptions(), p.IsSYN())
		}
	}
}

func TestDecodeUDP(t *testing.T) {
	for _, version := range []int{4, 6} {
		src, dst := ends(version)
		p := mustBeRight(t, udpPacket(version, "datagram"))
		if p.Proto != UDP || p.SrcAddrPort() != src || p.DstAddrPort() != dst || string(p.Payload) != "datagram" ||
			p.TTL != DefaultTTL || p.IsSYN() || p.IsEchoRequest() || p.IsICMPError() || p.TCPOptions() != nil {
			t.Errorf("read as %+v", p)
		}
	}
}

func TestDecodeEcho(t *testing.T) {
	for _, version := range []int{4, 6} {
		p := mustBeRight(t, echoPacket(version, "ping"))
		if !p.IsEchoRequest() || p.IsICMPError() || p.ICMPRest != 0x12340009 || string(p.Payload) != "ping" ||
			p.SrcPort != 0 || p.DstAddrPort().Port() != 0 {
			t.Errorf("read as %+v", p)
		}
	}
}

func TestDecodeCutsPadding(t *testing.T) {
	for _, version := range []int{4, 6} {
		want := udpPacket(version, "x")
		b := append(bytes.Clone(want), 0xaa, 0xbb)
		p := mustDecode(t, b)
		if !bytes.Equal(p.Raw, want) || cap(p.Raw) != len(want) || string(p.Payload) != "x" {
			t.Errorf("Raw is %d bytes of capacity %d, want %d; payload %q", len(p.Raw), cap(p.Raw), len(want), p.Payload)
		}
	}
}

func TestDecodeOverwritesEverything(t *testing.T) {
	p := mustDecode(t, withExtensions(tcpPacket(6, SYN, "x"), extension(destOptions, 0, 1, 4)))
	if c := p.Decode(udpPacket(4, "y")); c != drop.None {
		t.Fatal(c)
	}
	q := mustDecode(t, udpPacket(4, "y"))
	p.Raw, p.L4, p.Payload, q.Raw, q.L4, q.Payload = nil, nil, nil, nil, nil, nil
	if p.Src != q.Src || p.Flags != 0 || p.Options || p.Seq != 0 || p.TCPHeaderLen != 0 || p.HeaderLen != v4HeaderLen {
		t.Errorf("something of the last packet is left: %+v", p)
	}
}

func TestDecodeMappedStaysMapped(t *testing.T) {
	b := udpPacket(6, "x")
	m := netip.MustParseAddr("::ffff:127.0.0.1").As16()
	p := mustDecode(t, patch(b, 24, m[:]...))
	if !p.Dst.Is4In6() {
		t.Errorf("destination %v lost its mapping: a filter could not see it", p.Dst)
	}
}

func TestDecodeRefuses(t *testing.T) {
	udp4, udp6 := udpPacket(4, "12345678"), udpPacket(6, "12345678")
	tcp4, tcp6 := tcpPacket(4, ACK, "12345678"), tcpPacket(6, ACK, "12345678")
	echo4, echo6 := echoPacket(4, ""), echoPacket(6, "")
	const l4in4, l4in6 = v4HeaderLen, v6HeaderLen
	tests := []struct {
		name string
		pkt  []byte
		want drop.Cause
	}{
		{"nothing", nil, drop.Short},
		{"nothing with capacity", udp4[:0], drop.Short},
		{"version 0", patch(udp4, 0, 0x05), drop.Version},
		{"version 5", patch(udp4, 0, 0x55), drop.Version},
		{"version 15", patch(udp6, 0, 0xf0), drop.Version},
		{"one byte of IPv4", udp4[:1], drop.Short},
		{"19 bytes of IPv4", udp4[:19], drop.Short},
		{"39 bytes of IPv6", udp6[:39], drop.Short},
		{"IPv4 header of 0", patch(udp4, 0, 0x40), drop.HeaderLength},
		{"IPv4 header of 16", patch(udp4, 0, 0x44), drop.HeaderLength},
		{"IPv4 header beyond the packet", patch(udp4[:24], 0, 0x4f), drop.HeaderLength},
		{"IPv4 total of 0", patch(udp4, 2, 0, 0), drop.TotalLength},
		{"IPv4 total below header", patch(udp4, 2, 0, 19), drop.TotalLength},
		{"IPv4 total beyond the packet", patch(udp4, 3, udp4[3]+1), drop.TotalLength},
		{"IPv4 truncated", udp4[:len(udp4)-1], drop.TotalLength},
		{"IPv6 payload beyond the packet", patch(udp6, 5, udp6[5]+1), drop.TotalLength},
		{"IPv6 truncated", udp6[:len(udp6)-1], drop.TotalLength},
		{"IPv6 without anything", resize6(udp6, 40), drop.L4Length},

		{"IPv4 unknown protocol", patch(udp4, 9, 132), drop.UnknownProtocol},
		{"IPv6 unknown protocol", patch(udp6, 6, 132), drop.UnknownProtocol},
		{"ICMPv6 over IPv4", patch(echo4, 9, ICMPv6), drop.UnknownProtocol},
		{"ICMP over IPv6", patch(echo6, 6, ICMPv4), drop.UnknownProtocol},
		{"IPv4 hop-by-hop is no protocol", patch(udp4, 9, 0), drop.UnknownProtocol},

		{"TCP header cut, IPv4", resize4(tcp4, l4in4+19), drop.L4Length},
		{"TCP header cut, IPv6", resize6(tcp6, l4in6+19), drop.L4Length},
		{"TCP header of 0", patch(tcp4, l4in4+12, 0), drop.L4Length},
		{"TCP header of 16", patch(tcp6, l4in6+12, 0x40), drop.L4Length},
		{"TCP header beyond the packet", patch(tcp4, l4in4+12, 0xf0), drop.L4Length},
		{"TCP source port 0", patch(tcp4, l4in4, 0, 0), drop.PortZero},
		{"TCP destination port 0", patch(tcp6, l4in6+2, 0, 0), drop.PortZero},
		{"TCP no flags", patch(tcp4, l4in4+13, 0), drop.TCPFlags},
		{"TCP ECN flags alone", patch(tcp4, l4in4+13, ECE|CWR), drop.TCPFlags},
		{"TCP SYN FIN", patch(tcp4, l4in4+13, SYN|FIN), drop.TCPFlags},
		{"TCP SYN RST", patch(tcp6, l4in6+13, SYN|RST|ACK), drop.TCPFlags},
		{"TCP all flags", patch(tcp6, l4in6+13, 0xff), drop.TCPFlags},
		{"TCP PSH alone is no nonsense", patch(tcp6, l4in6+13, PSH), drop.None},

		{"UDP header cut, IPv4", resize4(udp4, l4in4+7), drop.L4Length},
		{"UDP header cut, IPv6", resize6(udp6, l4in6+7), drop.L4Length},
		{"UDP length of 0", patch(udp4, l4in4+4, 0, 0), drop.L4Length},
		{"UDP length of 0, IPv6", patch(udp6, l4in6+4, 0, 0), drop.L4Length},
		{"UDP length of 7", patch(udp4, l4in4+4, 0, 7), drop.L4Length},
		{"UDP length beyond the packet", patch(udp4, l4in4+4, 0, 17), drop.L4Length},
		{"UDP length beyond the packet, IPv6", patch(udp6, l4in6+4, 0, 17), drop.L4Length},
		{"UDP shorter than the packet", patch(udp4, l4in4+4, 0, 9), drop.None},
		{"UDP source port 0", patch(udp4, l4in4, 0, 0), drop.PortZero},
		{"UDP destination port 0", patch(udp6, l4in6+2, 0, 0), drop.PortZero},
		{"UDP without checksum, IPv4", patch(udp4, l4in4+6, 0, 0), drop.None},
		{"UDP without checksum, IPv6", patch(udp6, l4in6+6, 0, 0), drop.L4Checksum},

		{"ICMP cut", resize4(echo4, l4in4+7), drop.L4Length},
		{"ICMPv6 cut", resize6(echo6, l4in6+4), drop.L4Length},

		{"IPv4 options", withOptions4(udp4, 1, 7, 3, 4, 0, 9, 9, 9), drop.None},
		{"IPv4 option without length", withOptions4(udp4, 1, 1, 1, 7), drop.BadExtension},
		{"IPv4 option of length 0", withOptions4(udp4, 7, 0, 0, 0), drop.BadExtension},
		{"IPv4 option of length 1", withOptions4(udp4, 7, 1, 0, 0), drop.BadExtension},
		{"IPv4 option beyond the header", withOptions4(udp4, 7, 5, 0, 0), drop.BadExtension},
		{"IPv4 loose source route", withOptions4(udp4, 131, 7, 4, 127, 0, 0, 1, 0), drop.SourceRoute},
		{"IPv4 strict source route", withOptions4(udp4, 1, 137, 3, 4), drop.SourceRoute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Packet
			if got := p.Decode(tt.pkt); got != tt.want {
				t.Errorf("Decode = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDecodeUnknownProtocolCanBeAnswered(t *testing.T) {
	var p Packet
	b := patch(udpPacket(6, "abc"), 6, 132)
	if c := p.Decode(b); c != drop.UnknownProtocol {
		t.Fatal(c)
	}
	if p.SrcAddrPort().Addr() != client6.Addr() || p.Proto != 132 || len(p.L4) != 11 {
		t.Errorf("read as %+v", p)
	}
	if !p.ChecksumOK() {
		t.Error("a checksum was asked of a protocol nobody knows")
	}
	e := mustBeRight(t, AppendICMPError(nil, p.Dst, ProtocolUnreachable, p.Raw, 0))
	if e.ICMPType != 4 || e.ICMPCode != 1 || e.ICMPRest != 6 {
		t.Errorf("answered by type %d code %d pointer %d, want 4 1 6", e.ICMPType, e.ICMPCode, e.ICMPRest)
	}
}

package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// TestGolden compares whole packets, byte by byte, with ones whose sums were worked out elsewhere.
func TestGolden(t *testing.T) {
	four := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"UDP over IPv4", AppendUDP(nil, four("10.0.0.1:53"), four("10.0.0.2:1024"), 1, 2, []byte("abc")),
			"4502001f 00000000 0111a5ca 0a000001 0a000002 0035 0400 000b 233e 616263"},
		{"UDP over IPv6", AppendUDP(nil, four("[fd00::1]:53"), four("[fd00::2]:1024"), 1, 0x12, []byte("abc")),
			"61200000 000b 11 01 fd000000000000000000000000000001 fd000000000000000000000000000002 0035 0400 000b 3d3c 616263"},
		{"TCP over IPv4", AppendTCP(nil, TCPHeader{
			Src: four("10.0.0.1:80"), Dst: four("10.0.0.2:1024"), Seq: 1, Ack: 2, Flags: SYN | ACK,
			Window: 0xffff, Urgent: 3, Options: []byte{2, 4, 5, 180}}, nil),
			"4500002c 00004000 400626ca 0a000001 0a000002 0050 0400 00000001 00000002 6012 ffff 7fbe 0003 020405b4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if want := unhex(tt.want); !bytes.Equal(tt.got, want) {
				t.Errorf("built\n%x, want\n%x", tt.got, want)
			}
			mustBeRight(t, tt.got)
		})
	}
}

func TestBuildersAppend(t *testing.T) {
	p := mustDecode(t, tcpPacket(4, SYN, ""))
	ping := mustDecode(t, echoPacket(6, "ping"))
	builders := map[string]func(dst []byte) []byte{
		"UDP":   func(dst []byte) []byte { return AppendUDP(dst, client6, server6, 0, 0, []byte("x")) },
		"TCP":   func(dst []byte) []byte { return AppendTCP(dst, TCPHeader{Src: client4, Dst: server4, Flags: ACK}, nil) },
		"reset": func(dst []byte) []byte { return AppendReset(dst, p) },
		"echo":  func(dst []byte) []byte { return AppendEchoReply(dst, ping) },
		"error": func(dst []byte) []byte { return AppendICMPError(dst, server4.Addr(), PortUnreachable, p.Raw, 0) },
	}
	for name, build := range builders {
		t.Run(name, func(t *testing.T) {
			// Memory that held something else before, with a prefix to be left alone.
			buf := bytes.Repeat([]byte{0xee}, 2000)
			got := build(buf[:3])
			if !bytes.Equal(got[:3], []byte{0xee, 0xee, 0xee}) || &got[0] != &buf[0] {
				t.Error("the builder did not append")
			}
			mustBeRight(t, got[3:])
			if fresh := build(nil); !bytes.Equal(fresh, got[3:]) {
				t.Errorf("old memory shows through:\n%x, want\n%x", got[3:], fresh)
			}
		})
	}
}

func TestBuildersRefuse(t *testing.T) {
	big := make([]byte, maxPacket)
	var none netip.AddrPort
	tests := []struct {
		name string
		got  []byte
		n    int
	}{
		{"UDP mixed versions", AppendUDP(nil, client4, server6, 0, 0, nil), 0},
		{"UDP mixed the other way", AppendUDP(nil, client6, server4, 0, 0, nil), 0},
		{"UDP no address", AppendUDP(nil, none, server4, 0, 0, nil), 0},
		{"UDP too large, IPv4", AppendUDP(nil, client4, server4, 0, 0, big[:65508]), 0},
		{"UDP as large as can be, IPv4", AppendUDP(nil, client4, server4, 0, 0, big[:65507]), 65535},
		{"UDP too large, IPv6", AppendUDP(nil, client6, server6, 0, 0, big[:65528]), 0},
		{"UDP as large as can be, IPv6", AppendUDP(nil, client6, server6, 0, 0, big[:65527]), 65575},
		{"TCP options too long", AppendTCP(nil, TCPHeader{Src: client4, Dst: server4, Options: big[:41]}, nil), 0},
		{"TCP options as long as can be", AppendTCP(nil, TCPHeader{Src: client4, Dst: server4, Flags: ACK, Options: big[:40]}, nil), 80},
		{"TCP too large", AppendTCP(nil, TCPHeader{Src: client4, Dst: server4}, big[:65496]), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.got) != tt.n {
				t.Fatalf("built %d bytes, want %d", len(tt.got), tt.n)
			}
			if tt.n > 0 {
				mustBeRight(t, tt.got)
			}
		})
	}
}

func TestBuildersUnmap(t *testing.T) {
	mapped := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	b := AppendUDP(nil, mapped(client4), server4, 0, 0, nil)
	if p := mustBeRight(t, b); p.Version != 4 || p.SrcAddrPort() != client4 {
		t.Errorf("built from %v, want %v", p.SrcAddrPort(), client4)
	}
	zoned := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%eth0"), 5)
	if p := mustBeRight(t, AppendUDP(nil, zoned, server6, 0, 0, nil)); p.Src != netip.MustParseAddr("fe80::1") {
		t.Errorf("source %v, want fe80::1", p.Src)
	}
}

// TestUDPChecksumIsNeverZero: a sum that comes out as 0 is sent as 0xffff.
func TestUDPChecksumIsNeverZero(t *testing.T) {
	for _, version := range []int{4, 6} {
		src, dst := ends(version)
		b := AppendUDP(nil, src, dst, 0, 0, []byte{0, 0})
		l4 := len(b) - 10
		// The payload takes up what the rest leaves to 0xffff: the checksum itself.
		payload := b[l4+6 : l4+8]
		got := AppendUDP(nil, src, dst, 0, 0, payload)
		if field := binary.BigEndian.Uint16(got[l4+6:]); field != 0xffff {
			t.Errorf("IPv%d: checksum %#04x, want 0xffff", version, field)
		}
		mustBeRight(t, got)
	}
}

func TestAppendReset(t *testing.T) {
	for _, version := range []int{4, 6} {
		src, dst := ends(version)
		tests := []struct {
			name     string
			pkt      []byte
			seq, ack uint32
			flags    uint8
		}{
			{"SYN", tcpPacket(version, SYN, ""), 0, 1001, RST | ACK},
			{"SYN with data", tcpPacket(version, SYN, "fast"), 0, 1005, RST | ACK},
			{"FIN without ACK", tcpPacket(version, FIN, "end"), 0, 1004, RST | ACK},
			{"data without ACK", tcpPacket(version, PSH, "x"), 0, 1001, RST | ACK},
			{"ACK", tcpPacket(version, ACK, ""), 2000, 0, RST},
			{"SYN-ACK", tcpPacket(version, SYN|ACK, ""), 2000, 0, RST},
			{"FIN", tcpPacket(version, FIN|ACK, "x"), 2000, 0, RST},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				p := mustBeRight(t, AppendReset(nil, mustDecode(t, tt.pkt)))
				if p.SrcAddrPort() != dst || p.DstAddrPort() != src {
					t.Errorf("from %v to %v, want from %v to %v", p.SrcAddrPort(), p.DstAddrPort(), dst, src)
				}
				if p.Seq != tt.seq || p.Ack != tt.ack || p.Flags != tt.flags || p.Window != 0 || len(p.Payload) != 0 {
					t.Errorf("seq %d ack %d flags %#x, want %d %d %#x", p.Seq, p.Ack, p.Flags, tt.seq, tt.ack, tt.flags)
				}
			})
		}
		for name, pkt := range map[string][]byte{
			"RST":     tcpPacket(version, RST, ""),
			"RST ACK": tcpPacket(version, RST|ACK, ""),
			"UDP":     udpPacket(version, ""),
		} {
			if b := AppendReset(nil, mustDecode(t, pkt)); b != nil {
				t.Errorf("%s was answered by %x", name, b)
			}
		}
	}
	if b := AppendReset(nil, mustDecode(t, frag4(tcpPacket(4, SYN, "1234"), 0, true))); b != nil {
		t.Errorf("a fragment was answered by %x", b)
	}
	if b := AppendReset(nil, mustDecode(t, patch(tcpPacket(4, SYN, ""), 16, 224, 0, 0, 1))); b != nil {
		t.Errorf("a SYN to a multicast address was answered by %x", b)
	}
}

func TestAppendEchoReply(t *testing.T) {
	for _, version := range []int{4, 6} {
		request := mustDecode(t, echoPacket(version, "are you there"))
		request.TOS = 0x20
		p := mustBeRight(t, AppendEchoReply(nil, request))
		want := EchoReply4
		if version == 6 {
			want = EchoReply6
		}
		if p.ICMPType != want || p.ICMPCode != 0 || p.ICMPRest != request.ICMPRest || !bytes.Equal(p.Payload, request.Payload) {
			t.Errorf("reply is %+v", p)
		}
		if p.Src != request.Dst || p.Dst != request.Src || p.TOS != 0x20 || p.FragID != request.FragID {
			t.Errorf("reply from %v to %v, TOS %#x, identification %d", p.Src, p.Dst, p.TOS, p.FragID)
		}
		if b := AppendEchoReply(nil, p); b != nil {
			t.Errorf("a reply was answered by %x", b)
		}
		if b := AppendEchoReply(nil, mustDecode(t, udpPacket(version, ""))); b != nil {
			t.Errorf("UDP was answered by %x", b)
		}
	}
	for name, pkt := range map[string][]byte{
		"to broadcast":   patch(echoPacket(4, ""), 16, 255, 255, 255, 255),
		"to multicast":   patch(echoPacket(6, ""), 24, 0xff, 2),
		"from multicast": patch(echoPacket(4, ""), 12, 224, 0, 0, 1),
		"from nowhere":   patch(echoPacket(6, ""), 8, make([]byte, 16)...),
		"code 1":         patch(echoPacket(4, ""), 21, 1),
		"fragment":       frag4(echoPacket(4, "12345678"), 0, true),
	} {
		if b := AppendEchoReply(nil, mustDecode(t, pkt)); b != nil {
			t.Errorf("%s: answered by %x", name, b)
		}
	}
}

func TestSetDontFragment(t *testing.T) {
	for _, payload := range []string{"", "x", "some more"} {
		for ttl := range 256 {
			b := AppendUDP(nil, client4, server4, uint8(ttl), 0, []byte(payload))
			SetDontFragment(b)
			SetDontFragment(b)
			if b[6] != 0x40 {
				t.Fatalf("flags %#x, want 0x40", b[6])
			}
			mustBeRight(t, b)
		}
	}
	six := udpPacket(6, "x")
	SetDontFragment(six)
	if !bytes.Equal(six, udpPacket(6, "x")) {
		t.Error("an IPv6 packet was changed")
	}
	SetDontFragment(nil)
	SetDontFragment([]byte{0x45})
}

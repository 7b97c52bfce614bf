package packet

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
)

var kinds = []struct {
	kind       Unreachable
	four, six  [2]uint8
	mtu        int
	mtu4, mtu6 int
}{
	{NetUnreachable, [2]uint8{3, 0}, [2]uint8{1, 0}, 9, 0, 0},
	{HostUnreachable, [2]uint8{3, 1}, [2]uint8{1, 3}, 0, 0, 0},
	{PortUnreachable, [2]uint8{3, 3}, [2]uint8{1, 4}, 0, 0, 0},
	{AdminProhibited, [2]uint8{3, 13}, [2]uint8{1, 1}, 0, 0, 0},
	{ProtocolUnreachable, [2]uint8{3, 2}, [2]uint8{4, 1}, 0, 0, 0},
	{TooBig, [2]uint8{3, 4}, [2]uint8{2, 0}, 1400, 1400, 1400},
	{TooBig, [2]uint8{3, 4}, [2]uint8{2, 0}, 70000, 65535, 70000},
	{TooBig, [2]uint8{3, 4}, [2]uint8{2, 0}, -1, 0, 0},
	{TimeExceeded, [2]uint8{11, 0}, [2]uint8{3, 0}, 0, 0, 0},
}

func TestICMPErrorRoundTrip(t *testing.T) {
	for _, version := range []int{4, 6} {
		src, dst := ends(version)
		for _, tt := range kinds {
			for proto, quoted := range map[uint8][]byte{
				TCP: tcpPacket(version, ACK, "some data"),
				UDP: udpPacket(version, ""),
			} {
				t.Run(fmt.Sprint(version, tt.kind, tt.mtu, proto), func(t *testing.T) {
					router := dst.Addr().Next()
					p := mustBeRight(t, AppendICMPError(nil, router, tt.kind, quoted, tt.mtu))
					want, mtu := tt.four, tt.mtu4
					if version == 6 {
						want, mtu = tt.six, tt.mtu6
					}
					if p.ICMPType != want[0] || p.ICMPCode != want[1] {
						t.Errorf("type %d code %d, want %v", p.ICMPType, p.ICMPCode, want)
					}
					if p.Src != router || p.Dst != src.Addr() || !p.IsICMPError() || !bytes.Equal(p.Payload, quoted) {
						t.Errorf("from %v to %v, error %v, quotes %x", p.Src, p.Dst, p.IsICMPError(), p.Payload)
					}
					e, ok := ParseICMPError(p)
					wantError := ICMPError{
						From: router,
						Kind: tt.kind, Type: want[0], Code: want[1], MTU: mtu, Src: src, Dst: dst, Proto: proto,
					}
					if proto == TCP {
						wantError.Seq = 1000
					}
					if !ok || e != wantError {
						t.Errorf("read as %+v, %v; want %+v", e, ok, wantError)
					}
				})
			}
		}
	}
}

func TestAppendICMPErrorQuotesWhatFits(t *testing.T) {
	for version, limit := range map[int]int{4: 576, 6: 1280} {
		quoted := udpPacket(version, string(make([]byte, 3000)))
		_, dst := ends(version)
		b := AppendICMPError(nil, dst.Addr(), PortUnreachable, quoted, 0)
		if len(b) != limit {
			t.Errorf("IPv%d: error of %d bytes, want %d", version, len(b), limit)
		}
		p := mustBeRight(t, b)
		if !bytes.HasPrefix(quoted, p.Payload) {
			t.Errorf("IPv%d: it quotes something else", version)
		}
		if _, ok := ParseICMPError(p); !ok {
			t.Errorf("IPv%d: a quote cut short cannot be read", version)
		}
		// Padding behind the quoted packet is not quoted; a header kept alone is enough.
		short := udpPacket(version, "")
		b = AppendICMPError(nil, dst.Addr(), PortUnreachable, append(bytes.Clone(short), 1, 2, 3), 0)
		if p := mustBeRight(t, b); !bytes.Equal(p.Payload, short) {
			t.Errorf("IPv%d: quotes %x, want %x", version, p.Payload, short)
		}
		if b := AppendICMPError(nil, dst.Addr(), PortUnreachable, quoted[:len(short)], 0); len(b) == 0 {
			t.Errorf("IPv%d: nothing built for a kept header", version)
		}
	}
}

func TestAppendICMPErrorRefuses(t *testing.T) {
	udp4, udp6 := udpPacket(4, "12345678"), udpPacket(6, "12345678")
	from4, from6 := server4.Addr(), server6.Addr()
	error4 := AppendICMPError(nil, from4, HostUnreachable, udp4, 0)
	error6 := AppendICMPError(nil, from6, HostUnreachable, udp6, 0)
	tests := []struct {
		name   string
		from   netip.Addr
		kind   Unreachable
		quoted []byte
	}{
		{"no kind", from4, 0, udp4},
		{"kind that is read only", from4, OtherError, udp4},
		{"no sender", netip.Addr{}, PortUnreachable, udp4},
		{"sender of another version", from6, PortUnreachable, udp4},
		{"sender of the other version", from4, PortUnreachable, udp6},
		{"multicast sender", netip.MustParseAddr("224.0.0.1"), PortUnreachable, udp4},
		{"nothing quoted", from4, PortUnreachable, nil},
		{"half a header", from4, PortUnreachable, udp4[:19]},
		{"half a header, IPv6", from6, PortUnreachable, udp6[:39]},
		{"an error, IPv4", client4.Addr(), PortUnreachable, error4},
		{"an error, IPv6", client6.Addr(), PortUnreachable, error6},
		{"a redirect", from4, PortUnreachable, patch(echoPacket(4, ""), 20, 5)},
		{"an ICMP message cut off", from4, PortUnreachable, echoPacket(4, "")[:20]},
		{"fragment", from4, PortUnreachable, frag4(udp4, 8, true)},
		{"fragment, IPv6", from6, PortUnreachable, withExtensions(udp6, fragmentExtension(8, true, 1))},
		{"from multicast", from4, PortUnreachable, patch(udp4, 12, 224, 0, 0, 1)},
		{"from broadcast", from4, PortUnreachable, patch(udp4, 12, 255, 255, 255, 255)},
		{"from nowhere", from6, PortUnreachable, patch(udp6, 8, make([]byte, 16)...)},
		{"to multicast", from4, PortUnreachable, patch(udp4, 16, 224, 0, 0, 1)},
		{"to broadcast", from4, PortUnreachable, patch(udp4, 16, 255, 255, 255, 255)},
		{"to multicast, IPv6", from6, PortUnreachable, patch(udp6, 24, 0xff, 2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if b := AppendICMPError(nil, tt.from, tt.kind, tt.quoted, 0); b != nil {
				t.Errorf("built %x", b)
			}
		})
	}
	if b := AppendICMPError(nil, from4, TimeExceeded, echoPacket(4, ""), 0); b == nil {
		t.Error("an echo request may be answered by an error")
	}
}

func TestParseICMPErrorRefuses(t *testing.T) {
	good4 := AppendICMPError(nil, server4.Addr(), TooBig, tcpPacket(4, ACK, "x"), 1400)
	good6 := AppendICMPError(nil, server6.Addr(), TooBig, tcpPacket(6, ACK, "x"), 1400)
	const quote4, quote6 = v4HeaderLen + icmpHeaderLen, v6HeaderLen + icmpHeaderLen
	tests := []struct {
		name string
		pkt  []byte
		ok   bool
	}{
		{"good, IPv4", good4, true},
		{"good, IPv6", good6, true},
		{"eight bytes quoted", resize4(good4, quote4+28), true},
		{"seven bytes quoted", resize4(good4, quote4+27), false},
		{"eight bytes quoted, IPv6", resize6(good6, quote6+48), true},
		{"seven bytes quoted, IPv6", resize6(good6, quote6+47), false},
		{"nothing quoted", resize4(good4, quote4), false},
		{"another version quoted", patch(good4, quote4, 0x65), false},
		{"no version quoted", patch(good6, quote6, 0x05), false},
		{"quoted header of 16", patch(good4, quote4, 0x44), false},
		{"quoted header beyond the quote", patch(resize4(good4, quote4+28), quote4, 0x4f), false},
		{"quoted total below header", patch(good4, quote4+2, 0, 19), false},
		{"quoted fragment", patch(good4, quote4+6, 0, 1), false},
		{"quoted first fragment", patch(good4, quote4+6, 0x20, 0), true},
		{"not sent by us", patch(good4, quote4+15, 99), false},
		{"not sent by us, IPv6", patch(good6, quote6+23, 99), false},
		{"echo", echoPacket(4, string(good4[quote4:])), false},
		{"UDP", udpPacket(6, string(good6[quote6:])), false},
		{"redirect", patch(good4, v4HeaderLen, 5), false},
		{"source quench", patch(good4, v4HeaderLen, 4), false},
		{"redirect, IPv6", patch(good6, v6HeaderLen, 137), false},
		{"a fragment itself", frag4(resize4(good4, quote4+32), 0, true), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, ok := ParseICMPError(mustDecode(t, tt.pkt))
			if ok != tt.ok {
				t.Errorf("ok = %v, want %v (%+v)", ok, tt.ok, e)
			}
			if !ok && e != (ICMPError{}) {
				t.Errorf("value and refusal: %+v", e)
			}
		})
	}
}

func TestParseICMPErrorBehindExtensions(t *testing.T) {
	quoted := withExtensions(tcpPacket(6, ACK, "x"), extension(destOptions, 0, 1, 4), fragmentExtension(0, true, 7))
	b := AppendICMPError(nil, server6.Addr(), TooBig, quoted, 1280)
	e, ok := ParseICMPError(mustBeRight(t, b))
	if !ok || e.Src != client6 || e.Dst != server6 || e.Seq != 1000 || e.MTU != 1280 {
		t.Errorf("read as %+v, %v", e, ok)
	}
	// The parameter problem points at the last header's name, wherever it stands.
	quoted = patch(withExtensions(udpPacket(6, "x"), extension(destOptions, 0, 1, 4)), 40, 200)
	p := mustBeRight(t, AppendICMPError(nil, server6.Addr(), ProtocolUnreachable, quoted, 0))
	if p.ICMPRest != 40 {
		t.Errorf("pointer %d, want 40", p.ICMPRest)
	}
}

// TestKinds: every type and code means something, and what we send means itself.
func TestKinds(t *testing.T) {
	tests := []struct {
		version, typ, code uint8
		want               Unreachable
	}{
		{4, 3, 5, HostUnreachable}, {4, 3, 6, NetUnreachable}, {4, 3, 7, HostUnreachable}, {4, 3, 8, NetUnreachable},
		{4, 3, 9, AdminProhibited}, {4, 3, 10, AdminProhibited}, {4, 3, 11, NetUnreachable}, {4, 3, 12, HostUnreachable},
		{4, 3, 14, OtherError}, {4, 11, 1, OtherError}, {4, 12, 0, OtherError},
		{6, 1, 2, HostUnreachable}, {6, 1, 5, AdminProhibited}, {6, 1, 6, AdminProhibited}, {6, 1, 7, OtherError},
		{6, 2, 9, TooBig}, {6, 3, 1, OtherError}, {6, 4, 0, OtherError}, {6, 100, 0, OtherError},
	}
	for _, tt := range tests {
		if got := kindOf(tt.version, tt.typ, tt.code); got != tt.want {
			t.Errorf("IPv%d %d/%d is %v, want %v", tt.version, tt.typ, tt.code, got, tt.want)
		}
	}
	for u := NetUnreachable; u < OtherError; u++ {
		for _, version := range []uint8{4, 6} {
			if typ, code, ok := u.wire(version); !ok || kindOf(version, typ, code) != u {
				t.Errorf("%v is sent as %d/%d over IPv%d, which reads as %v", u, typ, code, version, kindOf(version, typ, code))
			}
		}
	}
	names := make(map[string]bool)
	for u := range OtherError + 2 {
		names[u.String()] = true
	}
	if len(names) != int(OtherError)+1 { // the zero value and what lies beyond share one
		t.Errorf("%d names for %d kinds", len(names), OtherError+1)
	}
}

package packet

import (
	"testing"

	"l3extract/internal/drop"
)

func TestDecodeExtensions(t *testing.T) {
	udp, tcp := udpPacket(6, "12345678"), tcpPacket(6, SYN, "12345678")
	hop := extension(hopByHop, 0, 5, 2, 0, 0, 1, 0) // router alert
	dest := extension(destOptions, 0, 1, 4, 0, 0, 0, 0)
	// An authentication header counts in words of 4 bytes, less 2.
	auth := ext6{authentic, append([]byte{4}, make([]byte, 22)...)}
	route := extension(routing, 0, 0, 0)
	long := make([]ext6, maxExtensions)
	for i := range long {
		long[i] = dest
	}
	tests := []struct {
		name   string
		pkt    []byte
		want   drop.Cause
		header int
	}{
		{"hop-by-hop", withExtensions(udp, hop), drop.None, 48},
		{"destination options", withExtensions(tcp, dest), drop.None, 48},
		{"routing, none left", withExtensions(udp, route), drop.None, 48},
		{"authentication", withExtensions(udp, auth), drop.None, 64},
		{"everything", withExtensions(tcp, hop, dest, route, fragmentExtension(0, false, 7), auth, dest), drop.None, 104},
		{"a long one", withExtensions(udp, extension(destOptions, 255)), drop.None, 40 + 2048},
		{"as many as allowed", withExtensions(udp, long...), drop.None, 40 + 8*maxExtensions},

		{"one too many", withExtensions(udp, append(long, dest)...), drop.BadExtension, 0},
		{"hop-by-hop second", withExtensions(udp, dest, hop), drop.BadExtension, 0},
		{"hop-by-hop twice", withExtensions(udp, hop, hop), drop.BadExtension, 0},
		{"header cut to nothing", resize6(withExtensions(udp, dest), 40), drop.BadExtension, 0},
		{"header cut", resize6(withExtensions(udp, dest), 47), drop.BadExtension, 0},
		{"length beyond the packet", patch(withExtensions(udp, dest), 41, 200), drop.BadExtension, 0},
		{"authentication of 8 bytes", patch(withExtensions(udp, auth), 41, 0), drop.BadExtension, 0},
		{"authentication beyond the packet", patch(withExtensions(udp, auth), 41, 255), drop.BadExtension, 0},
		{"option without length", withExtensions(udp, extension(destOptions, 0, 1, 3, 0, 0, 0, 30)), drop.BadExtension, 0},
		{"option beyond the header", withExtensions(udp, extension(destOptions, 0, 1, 5)), drop.BadExtension, 0},
		{"unknown option to skip", withExtensions(udp, extension(hopByHop, 0, 0x3e, 4)), drop.None, 48},
		{"unknown option, discard", withExtensions(udp, extension(hopByHop, 0, 0x7e, 4)), drop.BadExtension, 0},
		{"unknown option, discard and say so", withExtensions(udp, extension(destOptions, 0, 0x9e, 4)), drop.BadExtension, 0},
		{"jumbogram", withExtensions(udp, extension(hopByHop, 0, 0xc2, 4, 0, 1, 0, 0)), drop.BadExtension, 0},
		{"routing, segments left", withExtensions(udp, extension(routing, 2, 0, 1)), drop.SourceRoute, 0},
		{"no next header", patch(udp, 6, noNextHeader), drop.NoNextHeader, 0},
		{"no next header after options", patch(withExtensions(udp, dest), 40, noNextHeader), drop.NoNextHeader, 0},
		{"encrypted", patch(withExtensions(udp, dest), 40, 50), drop.UnknownProtocol, 48},
		{"two fragment headers", withExtensions(udp, fragmentExtension(0, false, 1), fragmentExtension(0, true, 1)), drop.BadExtension, 0},
		{"transport header cut behind options", resize6(withExtensions(udp, dest), 55), drop.L4Length, 48},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Packet
			if got := p.Decode(tt.pkt); got != tt.want {
				t.Fatalf("Decode = %v, want %v", got, tt.want)
			}
			if tt.header == 0 {
				return
			}
			if p.HeaderLen != tt.header || !p.Options || p.Fragment {
				t.Errorf("HeaderLen %d, Options %v, Fragment %v; want %d, true, false", p.HeaderLen, p.Options, p.Fragment, tt.header)
			}
			if tt.want == drop.None && (!p.ChecksumOK() || string(p.Payload) != "12345678") {
				t.Errorf("behind the extensions: checksum %v, payload %q", p.ChecksumOK(), p.Payload)
			}
		})
	}
}

func TestDecodeFragments(t *testing.T) {
	udp4, udp6 := udpPacket(4, "12345678"), udpPacket(6, "12345678")
	tcp4, tcp6 := tcpPacket(4, SYN, "1234"), tcpPacket(6, SYN, "1234") // 24 bytes of TCP
	dest := extension(destOptions, 0, 1, 4, 0, 0, 0, 0)
	// longer says that its UDP length is n, as the first fragment of n bytes does.
	longer := func(pkt []byte, l4 int) []byte { return patch(pkt, l4+4, 1, 0) }
	tests := []struct {
		name string
		pkt  []byte
		want drop.Cause
	}{
		{"first, IPv4", frag4(longer(udp4, 20), 0, true), drop.None},
		{"first, IPv6", withExtensions(longer(udp6, 40), fragmentExtension(0, true, 9)), drop.None},
		{"first of TCP", frag4(tcp4, 0, true), drop.None},
		{"first behind options", withExtensions(longer(udp6, 40), dest, fragmentExtension(0, true, 9), dest), drop.None},
		{"middle, IPv4", frag4(udp4, 800, true), drop.None},
		{"middle, IPv6", withExtensions(udp6, fragmentExtension(800, true, 9)), drop.None},
		{"last, IPv4", frag4(resize4(udp4, 33), 800, false), drop.None},
		{"last, IPv6", resize6(withExtensions(udp6, fragmentExtension(800, false, 9)), 61), drop.None},
		{"middle whose data began with options", patch(withExtensions(udp6, fragmentExtension(800, true, 9)), 40, destOptions), drop.None},

		{"tiny: TCP header cut, IPv4", frag4(resize4(tcp4, 36), 0, true), drop.TinyFragment},
		{"tiny: TCP header cut, IPv6", resize6(withExtensions(tcp6, fragmentExtension(0, true, 9)), 64), drop.TinyFragment},
		{"tiny: TCP options cut", frag4(patch(tcp4, 32, 0xa0), 0, true), drop.TinyFragment},
		{"tiny: ports alone", frag4(resize4(tcp4, 28), 0, true), drop.TinyFragment},
		{"tiny: options cut off", resize6(withExtensions(udp6, fragmentExtension(0, true, 9), extension(destOptions, 3)), 56), drop.TinyFragment},
		{"tiny: nothing behind options", resize6(withExtensions(udp6, fragmentExtension(0, true, 9), dest), 56), drop.TinyFragment},
		{"overwrites TCP flags, IPv4", frag4(tcp4, 8, false), drop.TinyFragment},
		{"overwrites TCP checksum, IPv4", frag4(tcp4, 16, true), drop.TinyFragment},
		{"overwrites TCP flags, IPv6", withExtensions(tcp6, fragmentExtension(8, false, 9)), drop.TinyFragment},
		{"behind a full TCP header", frag4(tcp4, 24, true), drop.None},

		{"middle not of eights, IPv4", frag4(resize4(udp4, 33), 800, true), drop.FragmentLength},
		{"middle not of eights, IPv6", resize6(withExtensions(udp6, fragmentExtension(800, true, 9)), 61), drop.FragmentLength},
		{"empty, IPv4", frag4(resize4(udp4, 20), 800, true), drop.FragmentLength},
		{"empty, IPv6", resize6(withExtensions(udp6, fragmentExtension(800, false, 9)), 48), drop.FragmentLength},
		{"beyond 65535, IPv4", frag4(udp4, 65512, false), drop.FragmentLength},
		{"up to 65528, IPv4", frag4(udp4, 65496, false), drop.None},
		{"beyond 65535, IPv6", withExtensions(udp6, fragmentExtension(65528, false, 9)), drop.FragmentLength},
		{"beyond 65535 by its options", withExtensions(udp6, dest, fragmentExtension(65512, false, 9)), drop.FragmentLength},
		{"up to 65528, IPv6", withExtensions(udp6, fragmentExtension(65512, false, 9)), drop.None},

		{"first whose datagram ends in it, IPv4", frag4(udp4, 0, true), drop.L4Length},
		{"first without ports", frag4(patch(longer(udp4, 20), 20, 0, 0), 0, true), drop.PortZero},
		{"first with nonsense flags", frag4(tcpPacket(4, SYN|FIN, "1234"), 0, true), drop.TCPFlags},
		{"unknown protocol", frag4(patch(udp4, 9, 132), 800, true), drop.UnknownProtocol},
		{"no next header", patch(withExtensions(udp6, fragmentExtension(800, true, 9)), 40, noNextHeader), drop.UnknownProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Packet
			got := p.Decode(tt.pkt)
			if got != tt.want {
				t.Fatalf("Decode = %v, want %v", got, tt.want)
			}
			if got != drop.None {
				return
			}
			if !p.Fragment || !p.ChecksumOK() {
				t.Errorf("Fragment %v, ChecksumOK %v, want true, true", p.Fragment, p.ChecksumOK())
			}
			if p.Version == 6 && p.FragID != 9 {
				t.Errorf("FragID %d, want 9", p.FragID)
			}
			if p.FragOffset > 0 && (p.SrcPort != 0 || p.Payload != nil) {
				t.Errorf("ports or payload read where there are none: %+v", p)
			}
		})
	}
}

func TestFragmentIsNoMessage(t *testing.T) {
	p := mustDecode(t, frag4(patch(echoPacket(4, "12345678"), v4HeaderLen, 3), 8, true))
	if p.IsICMPError() || p.IsEchoRequest() {
		t.Error("data in the middle of a message was taken for its header")
	}
}

func TestAtomicFragmentIsWhole(t *testing.T) {
	p := mustDecode(t, withExtensions(udpPacket(6, "abc"), fragmentExtension(0, false, 5)))
	if p.Fragment || !p.Options || p.FragID != 5 || !p.ChecksumOK() || string(p.Payload) != "abc" {
		t.Errorf("read as %+v", p)
	}
}

package door

import (
	"bytes"
	"net/netip"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// build returns a packet of protocol proto between two addresses.
func build(proto uint8, from, to string) []byte {
	src := netip.AddrPortFrom(netip.MustParseAddr(from), 40000)
	dst := netip.AddrPortFrom(netip.MustParseAddr(to), 53)
	switch proto {
	case packet.TCP:
		return packet.AppendTCP(nil, packet.TCPHeader{Src: src, Dst: dst, Flags: packet.SYN, Window: 1000}, nil)
	case packet.UDP:
		return packet.AppendUDP(nil, src, dst, 0, 0, []byte("question"))
	}
	b := packet.AppendICMPError(nil, src.Addr(), packet.HostUnreachable, build(packet.TCP, to, from), 0)
	if b == nil {
		// An error about a packet that must not be answered: any other and new addresses.
		b = rewrite(build(proto, neutral(from), neutral(to)), from, to)
	}
	return b
}

// neutral returns an address of the same version that nothing is wrong with.
func neutral(a string) string {
	if netip.MustParseAddr(a).Is4() {
		return "10.0.0.9"
	}
	return "fd00::9"
}

// rewrite changes the addresses of a packet, and its checksum with them.
func rewrite(b []byte, from, to string) []byte {
	b = bytes.Clone(b)
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	at := 8
	if src.Is4() {
		at = 12
	}
	copy(b[at:], append(src.AsSlice(), dst.AsSlice()...))
	return resum(b)
}

// resum makes the checksums of a packet without options right.
func resum(b []byte) []byte {
	var l4, sumAt int
	var proto uint8
	if b[0]>>4 == 4 {
		l4, proto = 20, b[9]
		put(b[10:], 0)
		put(b[10:], ^packet.Checksum(b[:20], 0))
	} else {
		l4, proto = 40, b[6]
	}
	sumAt = map[uint8]int{packet.TCP: 16, packet.UDP: 6, packet.ICMPv4: 2, packet.ICMPv6: 2}[proto]
	pseudo := uint32(0)
	if proto != packet.ICMPv4 {
		addrs := b[12:20]
		if l4 == 40 {
			addrs = b[8:40]
		}
		pseudo = uint32(packet.Checksum(addrs, uint32(proto)+uint32(len(b)-l4)))
	}
	put(b[l4+sumAt:], 0)
	put(b[l4+sumAt:], ^packet.Checksum(b[l4:], pseudo))
	return b
}

func put(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

// protocols of the IP version of a.
func protocols(a string) []uint8 {
	if netip.MustParseAddr(a).Is4() {
		return []uint8{packet.TCP, packet.UDP, packet.ICMPv4}
	}
	return []uint8{packet.TCP, packet.UDP, packet.ICMPv6}
}

func prefixes(s ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range s {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func TestMartians(t *testing.T) {
	d := New(Config{VerifyChecksums: true, Own: prefixes("10.0.0.1/24", "fd00::1/64", "192.0.2.1/31", "192.0.2.9/32")})
	const good4, good6 = "10.0.0.2", "fd00::2"
	tests := []struct {
		from, to string
		want     drop.Cause // for TCP, UDP and ICMP alike
	}{
		{good4, "1.2.3.4", drop.None},
		{good6, "2001:db8::1", drop.None},

		{"0.0.0.0", "1.2.3.4", drop.MartianSource},
		{"0.1.2.3", "1.2.3.4", drop.MartianSource},
		{"127.0.0.1", "1.2.3.4", drop.MartianSource},
		{"127.255.255.255", "1.2.3.4", drop.MartianSource},
		{"224.0.0.1", "1.2.3.4", drop.MartianSource},
		{"239.255.255.255", "1.2.3.4", drop.MartianSource},
		{"240.0.0.1", "1.2.3.4", drop.MartianSource},
		{"255.255.255.255", "1.2.3.4", drop.MartianSource},
		{"10.0.0.1", "1.2.3.4", drop.MartianSource},   // our own
		{"10.0.0.255", "1.2.3.4", drop.MartianSource}, // broadcast of our subnet
		{"10.0.1.255", "1.2.3.4", drop.None},
		{"192.0.2.1", "1.2.3.4", drop.MartianSource},
		{"192.0.2.0", "1.2.3.4", drop.None}, // a /31 has no broadcast, RFC 3021
		{"192.0.2.9", "1.2.3.4", drop.MartianSource},
		{"169.254.7.7", "1.2.3.4", drop.None},
		{"223.255.255.255", "1.2.3.4", drop.None},

		{"::", "2001:db8::1", drop.MartianSource},
		{"::1", "2001:db8::1", drop.MartianSource},
		{"ff02::1", "2001:db8::1", drop.MartianSource},
		{"ff05::1:3", "2001:db8::1", drop.MartianSource},
		{"::ffff:127.0.0.1", "2001:db8::1", drop.MartianSource},
		{"::ffff:8.8.8.8", "2001:db8::1", drop.MartianSource},
		{"fd00::1", "2001:db8::1", drop.MartianSource},
		{"fe80::1", "2001:db8::1", drop.None},
		{"::ffff", "2001:db8::1", drop.None},

		{good4, "0.0.0.0", drop.MartianDestination},
		{good4, "0.0.0.8", drop.MartianDestination},
		{good4, "127.0.0.1", drop.MartianDestination},
		{good4, "127.1.2.3", drop.MartianDestination},
		{good4, "10.0.0.1", drop.None},
		{good4, "169.254.169.254", drop.None}, // policy is made above
		{good4, "250.1.1.1", drop.None},

		{good6, "::", drop.MartianDestination},
		{good6, "::1", drop.MartianDestination},
		{good6, "::ffff:127.0.0.1", drop.MartianDestination},
		{good6, "::ffff:8.8.8.8", drop.MartianDestination},
		{good6, "ff01::1", drop.MartianDestination},
		{good6, "fe80::2", drop.None},
		{good6, "fd00::1", drop.None},
	}
	for _, tt := range tests {
		for _, proto := range protocols(tt.from) {
			var p packet.Packet
			// Built between harmless ends, since the builders refuse some of these.
			b := rewrite(build(proto, neutral(tt.from), neutral(tt.to)), tt.from, tt.to)
			if got := d.Check(&p, b); got != tt.want {
				t.Errorf("protocol %d from %s to %s: %v, want %v", proto, tt.from, tt.to, got, tt.want)
			}
		}
	}
}

func TestMulticastIsForDatagrams(t *testing.T) {
	d := New(Config{Own: prefixes("10.0.0.1/24")})
	for _, to := range []string{"224.0.0.251", "239.1.2.3", "255.255.255.255", "10.0.0.255", "ff02::fb", "ff0e::1"} {
		from := neutral(to)
		for _, proto := range protocols(to) {
			want := drop.None
			if proto == packet.TCP {
				want = drop.Multicast
			}
			var p packet.Packet
			if got := d.Check(&p, rewrite(build(proto, from, from), from, to)); got != want {
				t.Errorf("protocol %d to %s: %v, want %v", proto, to, got, want)
			}
		}
		// A protocol nobody knows is not answered there either.
		b := rewrite(build(packet.UDP, from, from), from, to)
		if b[0]>>4 == 4 {
			b[9] = 132
		} else {
			b[6] = 132
		}
		var p packet.Packet
		if got := d.Check(&p, b); got != drop.Multicast {
			t.Errorf("protocol 132 to %s: %v, want %v", to, got, drop.Multicast)
		}
	}
}

func TestSources(t *testing.T) {
	tests := []struct {
		name    string
		sources []netip.Prefix
		in, out []string
	}{
		{"default", nil, []string{"10.0.0.2", "8.8.8.8", "2001:db8::1"}, nil},
		{"empty", []netip.Prefix{}, []string{"10.0.0.2", "2001:db8::1"}, nil},
		{"one host", prefixes("10.0.0.2/32"), []string{"10.0.0.2"}, []string{"10.0.0.1", "10.0.0.3", "2001:db8::1"}},
		{"host bits set", prefixes("10.0.0.77/24"), []string{"10.0.0.0", "10.0.0.255"}, []string{"10.0.1.0", "9.255.255.255"}},
		{"all of IPv4", prefixes("0.0.0.0/0"), []string{"1.1.1.1", "223.1.1.1"}, []string{"2001:db8::1"}},
		{"all of IPv6", prefixes("::/0"), []string{"2001:db8::1", "fe80::1"}, []string{"1.1.1.1"}},
		{
			"nested and side by side",
			prefixes("10.1.0.0/16", "fd00::/8", "10.0.0.0/8", "10.2.0.0/16", "192.168.1.0/24", "10.0.0.0/8", "fd00::1/128"),
			[]string{"10.0.0.1", "10.3.0.1", "10.255.255.255", "192.168.1.9", "fd00::2", "fdff::"},
			[]string{"11.0.0.0", "192.168.2.0", "fe00::1", "9.255.255.255", "192.168.0.255"},
		},
		{"IPv4 in IPv6 clothes", prefixes("::ffff:10.0.0.0/104"), []string{"10.9.9.9"}, []string{"11.0.0.1", "::a00:1"}},
		{"nothing valid", []netip.Prefix{{}}, nil, []string{"10.0.0.1", "2001:db8::1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(Config{Sources: tt.sources, VerifyChecksums: true})
			check := func(from string, want drop.Cause) {
				to := "1.2.3.4"
				if netip.MustParseAddr(from).Is6() {
					to = "2001:db8::99"
				}
				for _, proto := range protocols(from) {
					var p packet.Packet
					if got := d.Check(&p, build(proto, from, to)); got != want {
						t.Errorf("protocol %d from %s: %v, want %v", proto, from, got, want)
					}
				}
			}
			for _, from := range tt.in {
				check(from, drop.None)
			}
			for _, from := range tt.out {
				check(from, drop.ForeignSource)
			}
		})
	}
}

func TestChecksums(t *testing.T) {
	strict, trusting := New(Config{VerifyChecksums: true}), New(Config{})
	for _, to := range []string{"1.2.3.4", "2001:db8::1"} {
		for _, proto := range protocols(to) {
			good := build(proto, neutral(to), to)
			bad := bytes.Clone(good)
			bad[len(bad)-1] ^= 1
			var p packet.Packet
			if got := strict.Check(&p, good); got != drop.None {
				t.Errorf("protocol %d to %s: %v", proto, to, got)
			}
			if got := strict.Check(&p, bad); got != drop.L4Checksum {
				t.Errorf("protocol %d to %s with a wrong checksum: %v, want %v", proto, to, got, drop.L4Checksum)
			}
			if got := trusting.Check(&p, bad); got != drop.None {
				t.Errorf("protocol %d to %s from a conn that vouches: %v", proto, to, got)
			}
		}
	}
	var p packet.Packet
	b := build(packet.TCP, "10.0.0.2", "1.2.3.4")
	b[8]-- // TTL
	if got := strict.Check(&p, b); got != drop.V4Checksum {
		t.Errorf("wrong IPv4 header checksum: %v, want %v", got, drop.V4Checksum)
	}
}

func TestMalformed(t *testing.T) {
	d := New(Config{Own: []netip.Prefix{{}}}) // one that is not valid is ignored
	var p packet.Packet
	b := build(packet.UDP, "10.0.0.2", "1.2.3.4")
	if got := d.Check(&p, b[:len(b)-1]); got != drop.TotalLength {
		t.Errorf("truncated: %v, want %v", got, drop.TotalLength)
	}
	if got := d.Check(&p, nil); got != drop.Short {
		t.Errorf("nothing: %v, want %v", got, drop.Short)
	}
	// An unknown protocol passes everything else, so that it may be answered.
	b[9] = 132
	if got := d.Check(&p, b); got != drop.UnknownProtocol {
		t.Errorf("unknown protocol: %v, want %v", got, drop.UnknownProtocol)
	}
	copy(b[12:], []byte{127, 0, 0, 1})
	if got := d.Check(&p, b); got != drop.MartianSource {
		t.Errorf("unknown protocol from loopback: %v, want %v", got, drop.MartianSource)
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := New(Config{VerifyChecksums: true, Sources: prefixes("10.0.0.0/8", "fd00::/8"), Own: prefixes("10.0.0.1/24", "fd00::1/64")})
	pkts := [][]byte{
		build(packet.TCP, "10.0.0.2", "1.2.3.4"), build(packet.UDP, "fd00::2", "2001:db8::1"),
		build(packet.UDP, "11.0.0.2", "1.2.3.4"), build(packet.TCP, "fd00::2", "::1"),
	}
	var p packet.Packet
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range pkts {
			d.Check(&p, b)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	own := prefixes("10.0.0.1/24", "fd00::1/64")
	src, dst := netip.MustParseAddrPort("10.0.0.2:4000"), netip.MustParseAddrPort("1.2.3.4:443")
	pkt := packet.AppendTCP(nil, packet.TCPHeader{Src: src, Dst: dst, Flags: packet.ACK}, make([]byte, 1400))
	for name, d := range map[string]*Door{
		"Trusting":  New(Config{Own: own}),
		"Verifying": New(Config{Own: own, VerifyChecksums: true}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var p packet.Packet
			for b.Loop() {
				d.Check(&p, pkt)
			}
		})
	}
}

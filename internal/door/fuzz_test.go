package door

import (
	"bytes"
	"net/netip"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// seeds holds one packet of every kind, good and bad.
func seeds() [][]byte {
	all := [][]byte{nil, {0x45}, {0x60}, make([]byte, 60), bytes.Repeat([]byte{0xff}, 60)}
	for _, ends := range [][2]string{{"10.0.0.2", "1.2.3.4"}, {"fd00::2", "2001:db8::1"}} {
		from, to := ends[0], ends[1]
		for _, proto := range protocols(from) {
			b := build(proto, from, to)
			all = append(all, b, b[:len(b)-1], append(bytes.Clone(b), "padding"...))
			bad := bytes.Clone(b)
			bad[len(bad)-1] ^= 0x55
			all = append(all, bad)
		}
		a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
		for kind := packet.NetUnreachable; kind < packet.OtherError; kind++ {
			all = append(all, packet.AppendICMPError(nil, b, kind, build(packet.UDP, from, to), 1300))
		}
		for _, flags := range []uint8{0, packet.ACK, packet.FIN | packet.ACK, packet.RST, packet.SYN | packet.FIN, packet.SYN | packet.RST} {
			all = append(all, packet.AppendTCP(nil, packet.TCPHeader{
				Src: netip.AddrPortFrom(a, 1), Dst: netip.AddrPortFrom(b, 2), Flags: flags,
				Options: []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7},
			}, []byte("segment")))
		}
		big := packet.AppendUDP(nil, netip.AddrPortFrom(a, 5), netip.AddrPortFrom(b, 6), 0, 0, make([]byte, 300))
		// The error is for packets that cannot be cut: these can.
		_ = packet.Fragment(big, 150, 7, func(frag []byte) { all = append(all, bytes.Clone(frag)) })
	}
	for _, to := range []string{"127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.169.254"} {
		all = append(all, rewrite(build(packet.TCP, "10.0.0.2", "10.0.0.9"), "10.0.0.2", to),
			rewrite(build(packet.UDP, "10.0.0.2", "10.0.0.9"), to, "10.0.0.2"))
	}
	for _, to := range []string{"::1", "::", "::ffff:127.0.0.1", "ff02::1", "fe80::1", "ff01::1"} {
		all = append(all, rewrite(build(packet.TCP, "fd00::2", "fd00::9"), "fd00::2", to),
			rewrite(build(packet.UDP, "fd00::2", "fd00::9"), to, "fd00::2"))
	}
	return append(all, withExtensions(build(packet.UDP, "fd00::2", "2001:db8::1")), withOptions(build(packet.TCP, "10.0.0.2", "1.2.3.4")))
}

// withExtensions puts hop-by-hop and destination options into an IPv6 packet.
func withExtensions(b []byte) []byte {
	e := bytes.Clone(b[:40])
	e = append(e, 60, 0, 5, 2, 0, 0, 1, 0, b[6], 0, 1, 4, 0, 0, 0, 0)
	e = append(e, b[40:]...)
	e[6] = 0
	put(e[4:], uint16(len(e)-40))
	return e
}

// withOptions puts a record route option into an IPv4 packet.
func withOptions(b []byte) []byte {
	o := append(bytes.Clone(b[:20]), 7, 7, 4, 0, 0, 0, 0, 0)
	o = append(o, b[20:]...)
	o[0] = 0x47
	put(o[2:], uint16(len(o)))
	put(o[10:], 0)
	put(o[10:], ^packet.Checksum(o[:28], 0))
	return o
}

func TestSeedsWithExtensionsPass(t *testing.T) {
	d := New(Config{VerifyChecksums: true})
	for _, b := range [][]byte{
		withExtensions(build(packet.UDP, "fd00::2", "2001:db8::1")),
		withOptions(build(packet.TCP, "10.0.0.2", "1.2.3.4")),
	} {
		var p packet.Packet
		if c := d.Check(&p, b); c != drop.None || !p.Options {
			t.Errorf("%v, options %v: %x", c, p.Options, b)
		}
	}
}

// FuzzDoor: whatever comes, what the door lets through is what it promises.
func FuzzDoor(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b)
	}
	own := prefixes("10.0.0.1/24", "fd00::1/64")
	open := New(Config{Own: own})
	strict := New(Config{Own: own, Sources: prefixes("10.0.0.0/8", "fd00::/8"), VerifyChecksums: true})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var p, q packet.Packet
		cause, strictly := open.Check(&p, b), strict.Check(&q, b)
		if !bytes.Equal(b, before) {
			t.Fatal("the door changed the packet")
		}
		if cause.String() == "unknown" || strictly.String() == "unknown" {
			t.Fatalf("causes %d and %d have no name", cause, strictly)
		}
		if strictly == drop.None {
			if cause != drop.None {
				t.Fatalf("the strict door lets in what the open one refuses: %v", cause)
			}
			if !q.ChecksumOK() {
				t.Fatal("a wrong checksum passed")
			}
			inside := netip.MustParsePrefix("10.0.0.0/8").Contains(q.Src) || netip.MustParsePrefix("fd00::/8").Contains(q.Src)
			if !inside {
				t.Fatalf("foreign source %v passed", q.Src)
			}
		}
		if cause != drop.None {
			return
		}
		// Said in other words than the door's own.
		for _, a := range []netip.Addr{p.Src, p.Dst} {
			if a.IsLoopback() || a.IsUnspecified() || a.Unmap() != a || a.Is4() && a.As4()[0] == 0 {
				t.Fatalf("%v to %v passed", p.Src, p.Dst)
			}
		}
		if p.Src.IsMulticast() || p.Src.Is4() && p.Src.As4()[0] >= 240 {
			t.Fatalf("source %v passed", p.Src)
		}
		for _, o := range own {
			if p.Src == o.Addr() {
				t.Fatalf("our own source %v passed", p.Src)
			}
		}
		if p.Proto == packet.TCP && (p.Dst.IsMulticast() || p.Dst == netip.MustParseAddr("255.255.255.255")) {
			t.Fatalf("TCP to %v passed", p.Dst)
		}
		if len(p.Raw) > len(b) || p.HeaderLen > len(p.Raw) || len(p.Payload) > len(p.L4) {
			t.Fatalf("lengths: input %d, packet %d, header %d", len(b), len(p.Raw), p.HeaderLen)
		}
		if p.Proto == packet.TCP && !p.Fragment && (len(p.L4) < 20 || p.SrcPort == 0 || p.DstPort == 0) {
			t.Fatalf("TCP segment of %d bytes passed", len(p.L4))
		}
	})
}

package ether

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// TestFrames: each kind of frame is handed on whole, or dropped and counted as what it is.
func TestFrames(t *testing.T) {
	out4, out6 := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")
	good4, good6 := packet4(guest4, out4, 60), packet6(guest6, out6, 60)
	patched := func(p []byte, at int, v ...byte) []byte {
		p = bytes.Clone(p)
		copy(p[at:], v)
		return p
	}
	gate := DefaultMAC
	group := MAC{0x01, 0, 0x5e, 0, 0, 0xfb}
	frame := func(to, from MAC, kind uint16, p []byte) []byte {
		return append(appendHeader(nil, to, from, kind), p...)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  []byte // the packet handed on
		count func(s Stats) uint64
	}{
		{"v4", frame(gate, guestMAC, typeIPv4, good4), good4, nil},
		{"v6", frame(gate, guestMAC, typeIPv6, good6), good6, nil},
		{"padding", frame(gate, guestMAC, typeIPv4, append(packet4(guest4, out4, 30), make([]byte, 16)...)), packet4(guest4, out4, 30), nil},
		{"padding v6", frame(gate, guestMAC, typeIPv6, append(packet6(guest6, out6, 40), 1, 2)), packet6(guest6, out6, 40), nil},
		{"broadcast", frame(broadcastMAC, guestMAC, typeIPv4, good4), good4, nil},
		{"multicast", frame(group, guestMAC, typeIPv4, good4), good4, nil},
		{"no source yet", frame(group, guestMAC, typeIPv4, packet4(netip.IPv4Unspecified(), out4, 28)), packet4(netip.IPv4Unspecified(), out4, 28), nil},
		{"link-local", frame(gate, guestMAC, typeIPv6, packet6(guestMAC.linkLocal(), out6, 48)), packet6(guestMAC.linkLocal(), out6, 48), nil},

		{"runt", good4[:13], nil, func(s Stats) uint64 { return s.Malformed }},
		{"no payload", frame(gate, guestMAC, typeIPv4, nil), nil, func(s Stats) uint64 { return s.Malformed }},
		{"group as source", frame(gate, group, typeIPv4, good4), nil, func(s Stats) uint64 { return s.Malformed }},
		{"zero as source", frame(gate, MAC{}, typeIPv4, good4), nil, func(s Stats) uint64 { return s.Malformed }},
		{"v4 is v6", frame(gate, guestMAC, typeIPv4, good6), nil, func(s Stats) uint64 { return s.Malformed }},
		{"v6 is v4", frame(gate, guestMAC, typeIPv6, good4), nil, func(s Stats) uint64 { return s.Malformed }},
		{"v4 longer than the frame", frame(gate, guestMAC, typeIPv4, patched(good4, 2, 0, 61)), nil, func(s Stats) uint64 { return s.Malformed }},
		{"v4 shorter than a header", frame(gate, guestMAC, typeIPv4, patched(good4, 2, 0, 19)), nil, func(s Stats) uint64 { return s.Malformed }},
		{"v6 longer than the frame", frame(gate, guestMAC, typeIPv6, patched(good6, 4, 0, 21)), nil, func(s Stats) uint64 { return s.Malformed }},
		{"v6 cut", frame(gate, guestMAC, typeIPv6, good6[:39]), nil, func(s Stats) uint64 { return s.Malformed }},
		{"above the MTU", frame(gate, guestMAC, typeIPv4, packet4(guest4, out4, 1501)), nil, func(s Stats) uint64 { return s.TooLong }},
		{"above the MTU v6", frame(gate, guestMAC, typeIPv6, packet6(guest6, out6, 1501)), nil, func(s Stats) uint64 { return s.TooLong }},
		{"above any buffer", frame(gate, guestMAC, typeIPv4, packet4(guest4, out4, 9000)), nil, func(s Stats) uint64 { return s.TooLong }},
		{"to somebody else", frame(otherMAC, guestMAC, typeIPv4, good4), nil, func(s Stats) uint64 { return s.OtherMAC }},
		{"from us", frame(broadcastMAC, gate, typeIPv4, good4), nil, func(s Stats) uint64 { return s.OwnMAC }},
		{"802.1Q", frame(gate, guestMAC, 0x8100, append([]byte{0, 5, 8, 0}, good4...)), nil, func(s Stats) uint64 { return s.VLAN }},
		{"802.1ad", frame(gate, guestMAC, 0x88a8, good4), nil, func(s Stats) uint64 { return s.VLAN }},
		{"full and tagged", frame(gate, guestMAC, 0x8100, make([]byte, 1504)), nil, func(s Stats) uint64 { return s.VLAN }},
		{"spanning tree", frame(MAC{1, 0x80, 0xc2}, guestMAC, 38, make([]byte, 46)), nil, func(s Stats) uint64 { return s.LLC }},
		{"LLDP", frame(MAC{1, 0x80, 0xc2}, guestMAC, 0x88cc, make([]byte, 46)), nil, func(s Stats) uint64 { return s.Unknown[0x88cc] }},
		{"foreign", frame(gate, guestMAC, typeIPv4, packet4(netip.MustParseAddr("10.0.0.1"), out4, 40)), nil, func(s Stats) uint64 { return s.Foreign }},
		{"foreign v6", frame(gate, guestMAC, typeIPv6, packet6(netip.MustParseAddr("2001:db8:1::1"), out6, 40)), nil, func(s Stats) uint64 { return s.Foreign }},
		{"from the broadcast address", frame(gate, guestMAC, typeIPv4, packet4(netip.MustParseAddr("192.168.127.255"), out4, 40)), nil, func(s Stats) uint64 { return s.Foreign }},
		{"broken ARP", frame(broadcastMAC, guestMAC, typeARP, make([]byte, 28)), nil, func(s Stats) uint64 { return s.Malformed }},
		{"short ARP", frame(broadcastMAC, guestMAC, typeARP, make([]byte, 27)), nil, func(s Stats) uint64 { return s.Malformed }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSegment(t, nil)
			s.raw(c.frame)
			if c.want != nil {
				if got := s.packet(); !bytes.Equal(got, c.want) {
					t.Errorf("%x, want %x", got, c.want)
				}
				return
			}
			s.settle()
			if got := s.conn.Stats(); c.count(got) != 1 || got.PacketsIn != 1 {
				t.Errorf("counted as %+v", got)
			}
		})
	}
}

// TestUnknownKinds: an attacker who sends every ethertype there is fills no memory.
func TestUnknownKinds(t *testing.T) {
	s := newSegment(t, nil)
	for kind := range uint16(100) {
		s.send(DefaultMAC, guestMAC, 0x9000+kind, make([]byte, 46))
	}
	s.settle()
	got := s.conn.Stats().Unknown
	if len(got) != maxKinds+1 || got[0] != 100-maxKinds || got[0x9000] != 1 {
		t.Errorf("%v", got)
	}
}

// TestTakeover: a guest gets neither the gateway's address nor another guest's by sending
// from it, unless that one has gone.
func TestTakeover(t *testing.T) {
	now := time.Duration(0)
	n := newNeighbours(64, time.Minute)
	for _, c := range []struct {
		m     MAC
		after time.Duration
		given bool
		want  verdict
	}{
		{guestMAC, 0, false, held},
		{guestMAC, time.Second, false, held},
		{otherMAC, 59 * time.Second, false, taken},
		{otherMAC, time.Second, false, held}, // it is gone
		{guestMAC, 0, false, taken},
		{guestMAC, 0, true, held}, // DHCP gave it
	} {
		now += c.after
		if got := n.claim(guest4, c.m, c.given, now); got != c.want {
			t.Errorf("%v at %v: %v, want %v", c.m, now, got, c.want)
		}
	}
}

func TestSpoofing(t *testing.T) {
	out := netip.MustParseAddr("203.0.113.9")
	s := newSegment(t, nil)
	s.send(DefaultMAC, guestMAC, typeIPv4, packet4(guest4, out, 40))
	s.packet()
	s.send(DefaultMAC, otherMAC, typeIPv4, packet4(guest4, out, 40))
	s.send(broadcastMAC, otherMAC, typeARP, arpBody(arpReply, otherMAC, guest4, MAC{}, guest4))
	s.send(broadcastMAC, otherMAC, typeARP, arpBody(arpReply, guestMAC, guest4, MAC{}, guest4)) // another sender than the frame's
	s.settle()
	if got := s.conn.Stats(); got.Spoofed != 3 {
		t.Errorf("counted as %+v", got)
	}
	if m, _ := s.conn.table.find(guest4); m != guestMAC {
		t.Errorf("%v is at %v", guest4, m)
	}
	// The gateway's: counted, and defended once.
	s.send(DefaultMAC, otherMAC, typeIPv4, packet4(gate4, out, 40))
	if f := s.frame(); !bytes.Equal(f, s.conn.arpFrame(broadcastMAC, arpRequest, gate4, MAC{}, gate4)) {
		t.Errorf("not a defence: %x", f)
	}
	s.send(broadcastMAC, otherMAC, typeARP, arpBody(arpRequest, otherMAC, gate4, MAC{}, gate4))
	s.settle()
	if got := s.conn.Stats(); got.GatewayClaims != 2 {
		t.Errorf("counted as %+v", got)
	}
}

// TestTableIsBounded: one guest with many addresses displaces its own, many guests
// displace nobody who is there.
func TestTableIsBounded(t *testing.T) {
	n := newNeighbours(64, time.Minute)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 1000 {
		if n.claim(addr(i), guestMAC, false, time.Duration(i)) != held {
			t.Fatalf("address %d is not held", i)
		}
	}
	if len(n.by) != 8 || len(n.of[guestMAC]) != 8 {
		t.Fatalf("%d addresses, %d of the guest", len(n.by), len(n.of[guestMAC]))
	}
	if _, ok := n.find(addr(999)); !ok {
		t.Error("the latest is gone")
	}
	refused := 0
	for i := range 1000 {
		if n.claim(addr(2000+i), MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}, false, time.Second) == crowded {
			refused++
		}
	}
	if len(n.by) != 64 || refused != 1000-56 {
		t.Errorf("%d addresses, %d refused", len(n.by), refused)
	}
	if n.claim(addr(9000), otherMAC, false, 2*time.Minute) != held || len(n.by) != 1 || len(n.of) != 1 {
		t.Errorf("after all have gone: %d addresses, %d guests", len(n.by), len(n.of))
	}
}

// TestWrite: packets go where they should.
func TestWrite(t *testing.T) {
	s := newSegment(t, nil)
	s.conn.table.claim(guest4, guestMAC, false, 0)
	s.conn.table.claim(guest6, otherMAC, false, 0)
	for _, c := range []struct {
		p  []byte
		to MAC
	}{
		{packet4(gate4, guest4, 40), guestMAC},
		{packet6(gate6, guest6, 40), otherMAC},
		{packet4(gate4, netip.MustParseAddr("224.0.0.251"), 40), MAC{1, 0, 0x5e, 0, 0, 0xfb}},
		{packet4(gate4, netip.MustParseAddr("239.255.1.2"), 40), MAC{1, 0, 0x5e, 0x7f, 1, 2}},
		{packet6(gate6, netip.MustParseAddr("ff02::1:ff00:7"), 40), MAC{0x33, 0x33, 0xff, 0, 0, 7}},
		{packet4(gate4, netip.MustParseAddr("255.255.255.255"), 40), broadcastMAC},
		{packet4(gate4, netip.MustParseAddr("192.168.127.255"), 40), broadcastMAC},
	} {
		if n, err := s.conn.Write(c.p); n != len(c.p) || err != nil {
			t.Fatal(n, err)
		}
		kind := uint16(typeIPv4)
		if c.p[0]>>4 == 6 {
			kind = typeIPv6
		}
		if got := s.frame(); !bytes.Equal(got, append(appendHeader(nil, c.to, DefaultMAC, kind), c.p...)) {
			t.Errorf("%x", got)
		}
	}
	// A batch with what goes nowhere in it.
	pkts := [][]byte{packet4(gate4, guest4, 41), {}, {0x99}, packet4(gate4, netip.MustParseAddr("10.9.9.9"), 42), packet4(gate4, guest4, 43)}
	if n, err := s.conn.WriteBatch(pkts); n != len(pkts) || err != nil {
		t.Fatal(n, err)
	}
	for _, i := range []int{0, 4} {
		if got := s.frame(); !bytes.Equal(got[headerLen:], pkts[i]) {
			t.Errorf("%x", got)
		}
	}
	if got := s.conn.Stats(); got.NoPacket != 1 || got.NoNeighbour != 1 {
		t.Errorf("%+v", got)
	}
}

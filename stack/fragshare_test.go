package stack

import (
	"net/netip"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/limit"
	"l3extract/internal/packet"
)

// TestFragmentShare: a source has its share until what it never completed is given up,
// and others have theirs.
func TestFragmentShare(t *testing.T) {
	var p partials
	p.init(reassemblyTime)
	now := time.Unix(1000, 0)
	frag := func(src string, id uint32) drop.Cause {
		f := &packet.Packet{Version: 4, Raw: make([]byte, 1500), Src: netip.MustParseAddr(src), FragID: id, Proto: 17}
		return p.admit(f, limit.DefaultKey(f.Src), now)
	}
	n := uint32(0)
	for frag("192.0.2.1", n) == drop.None {
		n++
	}
	if want := uint32(fragmentShare / (1500 + fragmentOverhead)); n != want || frag("192.0.2.1", 0) != drop.FragmentSource {
		t.Errorf("%d fragments of one source, want %d", n, want)
	}
	if c := frag("192.0.2.2", 0); c != drop.None {
		t.Errorf("another source: %v", c)
	}
	p.whole()
	p.whole() // of a packet that was no fragment
	if len(p.bySource) != 1 || len(p.byID) != int(n) {
		t.Errorf("%d sources, %d datagrams", len(p.bySource), len(p.byID))
	}
	now = now.Add(reassemblyTime)
	if c := frag("192.0.2.1", n); c != drop.None || len(p.byID) != 1 || p.byAge.Len() != 1 {
		t.Errorf("after their time: %v, %d datagrams", c, len(p.byID))
	}
	for i := range 2 * maxPartials {
		frag(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String(), 1)
	}
	if len(p.byID) != maxPartials || p.byAge.Len() != maxPartials {
		t.Errorf("%d datagrams, want %d", len(p.byID), maxPartials)
	}
}

// TestFragmentShareOnTheWay: first fragments without end are refused and counted, while
// another source's pings in fragments are answered.
func TestFragmentShareOnTheWay(t *testing.T) {
	for _, ends := range [][3]string{{"192.0.2.9", "10.0.0.2", "10.0.0.1"}, {"2001:db8:1::9", "fd00::2", "fd00::1"}} {
		o := newOutside(t, Config{Addrs: serverAddrs, MTU: 4000})
		own := netip.MustParseAddr(ends[2])
		var flood [][]byte
		ping := echoRequest(netip.MustParseAddr(ends[0]), own, make([]byte, 3000))
		for id := range uint32(800) {
			flood = append(flood, fragments(t, ping, 1500, id)[0])
		}
		if a := o.ask(flood...); len(a) != 0 || o.drops.Load(drop.FragmentSource) == 0 {
			t.Fatalf("%v: %d answers; %v", ends, len(a), o.Stats().Drops)
		}
		good := echoRequest(netip.MustParseAddr(ends[1]), own, make([]byte, 3000))
		for id := range uint32(1000) { // more than a share, but each is whole
			if a := o.ask(fragments(t, good, 1500, id)...); len(a) != 1 || len(a[0].Payload) != 3000 {
				t.Fatalf("%v: ping %d: %d answers; %v", ends, id, len(a), o.Stats().Drops)
			}
		}
	}
}

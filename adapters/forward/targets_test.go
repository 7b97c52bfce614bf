package forward

import (
	"net/netip"
	"slices"
	"testing"
)

// TestTargets: the last are remembered, each once, and no more than there is room for.
func TestTargets(t *testing.T) {
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), uint16(1+i)) }
	var ts targets
	const n = 3 * maxTargets
	for i := range n {
		ts.add(at(i))
		ts.add(at(0)) // asked again and again
		if len(ts) != min(i+1, maxTargets) {
			t.Fatalf("%d targets after %d", len(ts), i+1)
		}
	}
	want := []netip.AddrPort{at(0)}
	for i := n - 1; len(want) < maxTargets; i-- {
		want = append(want, at(i))
	}
	if !slices.Equal(ts, want) {
		t.Errorf("%v, want %v", ts, want)
	}
}

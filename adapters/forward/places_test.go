package forward

import (
	"net/netip"
	"testing"
	"time"

	"l3extract/internal/limit"
)

// TestWhoGivesWay: a source with few places takes that of the dial that has waited
// longest, and one with many takes one of its own: it would not get another's, of which an
// eighth is kept from it.
func TestWhoGivesWay(t *testing.T) {
	d := &places{table: limit.New(limit.Config{Total: 2 * limit.Small}, nil)}
	now := time.Now()
	busy, other, small := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	ended := make(map[netip.Addr]int)
	dial := func(source netip.Addr, age time.Duration) {
		t.Helper()
		p := &place{of: d, source: source, began: now.Add(-age)}
		if v := d.table.Acquire(source, p.target); v != limit.OK {
			t.Fatalf("%v has no place: %v", source, v)
		}
		p.wait(func() { ended[source]++ })
	}
	dial(other, time.Hour)
	for range limit.Small {
		dial(busy, time.Minute)
	}
	dial(other, 0)
	for _, tc := range []struct {
		source      netip.Addr
		busy, other int // that have given way so far
	}{{busy, 1, 0}, {small, 1, 1}, {small, 2, 1}} {
		if !d.makeRoom(&place{of: d, source: tc.source, began: now}) || ended[busy] != tc.busy || ended[other] != tc.other {
			t.Errorf("for %v gave way %v, want %d and %d", tc.source, ended, tc.busy, tc.other)
		}
		if tc.source == busy {
			dial(busy, 0) // in that place
		}
	}
	if d.makeRoom(&place{of: d, source: small, began: now.Add(-time.Minute)}) {
		t.Errorf("a young one gave way: %v", ended)
	}
}

package limit

import (
	"net/netip"
	"testing"
	"time"
)

func source4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// TestRate: a burst at once, then as many as the time allows, and never more than a
// burst saved up.
func TestRate(t *testing.T) {
	r := NewRate(100, 20, nil)
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		pause time.Duration
		want  int
	}{{0, 20}, {0, 0}, {100 * time.Millisecond, 10}, {-time.Minute, 0}, {time.Minute + 50*time.Millisecond, 5}, {time.Hour, 20}} {
		now = now.Add(tc.pause)
		got := 0
		for range 50 {
			if r.Allow(source4(1), now) {
				got++
			}
		}
		if got != tc.want {
			t.Errorf("after %v: %d, want %d", tc.pause, got, tc.want)
		}
	}
}

// TestRateOfSources: what one source spends is missed by those alone that share its
// key or its bucket.
func TestRateOfSources(t *testing.T) {
	r := NewRate(1, 200, nil) // more than the others can spend together
	now := time.Unix(1000, 0)
	for r.Allow(source4(0), now) {
	}
	apart := 0
	for i := 1; i < 100; i++ {
		shared := r.bucket(source4(i)) == r.bucket(source4(0))
		if r.Allow(source4(i), now) == shared {
			t.Errorf("source %d: shared %v", i, shared)
		}
		if !shared {
			apart++
		}
	}
	if apart == 0 {
		t.Error("all sources share one bucket")
	}
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1")
	for r.Allow(a, now) {
	}
	if r.Allow(b, now) {
		t.Error("two addresses of one /64 have a rate each")
	}
}

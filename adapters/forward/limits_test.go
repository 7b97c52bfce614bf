package forward

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

// TestSetLimits: bounds of dials are changed while dials are in flight, for each source too.
func TestSetLimits(t *testing.T) {
	release := make(chan struct{})
	srv := &Server{
		DialTimeout: -1, MaxDials: 8, MaxDialsPerSource: 3,
		Dialer: dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, context.DeadlineExceeded
		}),
	}
	w := newWire(t, srv)
	n := uint16(0)
	step := func(what, from string, syns int, dialing int64, limited uint64) {
		t.Helper()
		for range syns {
			n++
			w.synFrom(netip.AddrPortFrom(netip.MustParseAddr(from), 1000+n), netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), n))
		}
		wait(t, what, func() bool { st := srv.Stats(); return st.Dialing == dialing && st.Limited == limited })
	}
	step("three of one source", "192.0.2.1", 5, 3, 2)
	srv.SetLimits(Limits{MaxDials: 5, MaxDialsPerSource: -1})
	step("five in all", "192.0.2.1", 4, 5, 4)
	step("none of another", "192.0.2.2", 1, 5, 5)
	srv.SetLimits(Limits{})
	step("the defaults", "192.0.2.1", 100, 105, 5)
	close(release)
	wait(t, "the end", func() bool { return srv.Stats().Dialing == 0 })
}

package forward

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"l3extract/internal/limit"
	"l3extract/stack"
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

// TestSetLimitsMeanwhile: bounds are changed while stacks come and go, and the last ones
// are those that hold.
func TestSetLimitsMeanwhile(t *testing.T) {
	srv := new(Server)
	r := newIdleRig(t, srv, stack.Config{})
	all := []*session{r.work}
	for range 15 {
		all = append(all, srv.newSession(r.server))
	}
	var set atomic.Int64
	var done sync.WaitGroup
	done.Go(func() { // awaited below
		for range 1000 {
			srv.SetLimits(Limits{MaxDials: 1})
			set.Add(1)
		}
	})
	for set.Load() < 1000 {
		var leave []func()
		for _, n := range all {
			leave = append(leave, srv.enlist(n))
		}
		for _, f := range leave {
			f()
		}
	}
	done.Wait()

	n := all[0] // made while other bounds held
	srv.SetLimits(Limits{MaxDials: 2})
	defer srv.enlist(n)()
	a := netip.MustParseAddr("192.0.2.1")
	for i, want := range []limit.Verdict{limit.OK, limit.OK, limit.Total} {
		if v := n.dials.table.Acquire(a, netip.AddrPortFrom(a, uint16(i+1))); v != want {
			t.Errorf("dial %d: %v, want %v", i, v, want)
		}
	}
}

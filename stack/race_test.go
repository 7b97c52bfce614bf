package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// attempt says what a dial of one target does: after a time it gives a conn or an
// error.
type attempt struct {
	takes time.Duration
	err   error
}

// began is when which target was dialled.
type began struct {
	target netip.AddrPort
	at     time.Duration
}

// conn is a net.Conn that knows its target and whether it was closed.
type raceConn struct {
	net.Conn
	target netip.AddrPort
	closed *int
}

func (c raceConn) Close() error { *c.closed++; return nil }

// TestRace checks the schedule of RFC 8305 with a clock of its own.
func TestRace(t *testing.T) {
	a, b, c := netip.MustParseAddrPort("[2001:db8::1]:80"), netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:80")
	refused, dead, never := errors.New("refused"), errors.New("dead"), time.Hour
	for _, tc := range []struct {
		name   string
		does   map[netip.AddrPort]attempt
		began  []began
		won    netip.AddrPort
		err    error
		took   time.Duration
		closed int
	}{
		{"the first is quick", map[netip.AddrPort]attempt{a: {10 * time.Millisecond, nil}},
			[]began{{a, 0}}, a, nil, 10 * time.Millisecond, 0},
		{"the first is dead", map[netip.AddrPort]attempt{a: {never, nil}, b: {10 * time.Millisecond, nil}},
			[]began{{a, 0}, {b, attemptDelay}}, b, nil, attemptDelay + 10*time.Millisecond, 0},
		{"the first is slow and wins", map[netip.AddrPort]attempt{a: {attemptDelay + 10*time.Millisecond, nil}, b: {50 * time.Millisecond, nil}},
			[]began{{a, 0}, {b, attemptDelay}}, a, nil, attemptDelay + 10*time.Millisecond, 0},
		{"a failure starts the next at once", map[netip.AddrPort]attempt{a: {time.Millisecond, refused}, b: {time.Millisecond, refused}, c: {time.Millisecond, nil}},
			[]began{{a, 0}, {b, time.Millisecond}, {c, 2 * time.Millisecond}}, c, nil, 3 * time.Millisecond, 0},
		{"all fail: the first error", map[netip.AddrPort]attempt{a: {time.Millisecond, refused}, b: {time.Millisecond, dead}, c: {time.Millisecond, dead}},
			[]began{{a, 0}, {b, time.Millisecond}, {c, 2 * time.Millisecond}}, netip.AddrPort{}, refused, 3 * time.Millisecond, 0},
		{"a late failure", map[netip.AddrPort]attempt{a: {attemptDelay + 5*time.Millisecond, refused}, b: {never, nil}, c: {time.Millisecond, nil}},
			[]began{{a, 0}, {b, attemptDelay}, {c, attemptDelay + 5*time.Millisecond}}, c, nil, attemptDelay + 6*time.Millisecond, 0},
		{"two at once: one is closed", map[netip.AddrPort]attempt{a: {attemptDelay + time.Millisecond, nil}, b: {time.Millisecond, nil}},
			[]began{{a, 0}, {b, attemptDelay}}, netip.AddrPort{}, nil, attemptDelay + time.Millisecond, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				starts := make(chan began, 3)
				closed, up := 0, make(chan int, 1)
				up <- 0
				stubborn := tc.closed > 0 // its dials do not look at their context
				won, err := race(t.Context(), []netip.AddrPort{a, b, c}, func(ctx context.Context, dst netip.AddrPort) (net.Conn, error) {
					up <- <-up + 1
					defer func() { up <- <-up - 1 }()
					starts <- began{dst, time.Since(start)}
					does := tc.does[dst]
					done := ctx.Done()
					if stubborn {
						done = nil
					}
					select {
					case <-time.After(does.takes):
					case <-done:
						return nil, ctx.Err()
					}
					if does.err != nil {
						return nil, does.err
					}
					return raceConn{target: dst, closed: &closed}, nil
				})
				if took := time.Since(start); took != tc.took || <-up != 0 {
					t.Errorf("took %v, want %v; or an attempt was left behind", took, tc.took)
				}
				close(starts)
				var got []began
				for s := range starts {
					got = append(got, s)
				}
				if !slices.Equal(got, tc.began) {
					t.Errorf("attempts %v, want %v", got, tc.began)
				}
				if !errors.Is(err, tc.err) {
					t.Fatalf("error %v, want %v", err, tc.err)
				}
				if err == nil && tc.won.IsValid() && won.(raceConn).target != tc.won {
					t.Errorf("%v won, want %v", won.(raceConn).target, tc.won)
				}
				if closed != tc.closed {
					t.Errorf("%d conns closed, want %d", closed, tc.closed)
				}
			})
		})
	}
}

// TestRaceGivenUp: the context's end ends every attempt, and nothing is left.
func TestRaceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), attemptDelay+time.Millisecond)
		defer cancel()
		targets := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:80"), netip.MustParseAddrPort("192.0.2.3:80")}
		_, err := race(ctx, targets, func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestInterleave(t *testing.T) {
	at := func(s ...string) (out []netip.AddrPort) {
		for _, a := range s {
			out = append(out, netip.AddrPortFrom(netip.MustParseAddr(a), 80))
		}
		return out
	}
	for _, tc := range []struct{ six, four, want []netip.AddrPort }{
		{at("::1", "::2", "::3"), at("1.1.1.1"), at("::1", "1.1.1.1", "::2", "::3")},
		{at("::1"), at("1.1.1.1", "1.1.1.2"), at("::1", "1.1.1.1", "1.1.1.2")},
		{nil, at("1.1.1.1"), at("1.1.1.1")},
		{nil, nil, at()},
	} {
		if got := interleave(tc.six, tc.four); !slices.Equal(got, tc.want) {
			t.Errorf("%v, %v: %v", tc.six, tc.four, got)
		}
	}
}

package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
)

// lives tells for how long a Socket lives when nothing happens any more, in a
// bubble.
func lives(t *testing.T, s *Socket) time.Duration {
	t.Helper()
	start := time.Now()
	select {
	case <-s.Context().Done():
	case <-time.After(24 * time.Hour):
		return -1
	}
	if err := context.Cause(s.Context()); err != error(flow.Idle) {
		t.Errorf("ended with %v", err)
	}
	_, err := s.ReadMsg(nil)
	if !errors.Is(err, net.ErrClosed) || !errors.Is(err, flow.Idle) {
		t.Errorf("read after expiry: %v", err)
	}
	return time.Since(start)
}

func TestIdleTimeouts(t *testing.T) {
	f := families[0]
	dns := netip.AddrPortFrom(f.server.Addr(), 53)
	read := func(s *Socket) { s.ReadMsg(make([]byte, 10)) }
	for _, tc := range []struct {
		name string
		cfg  Config
		dst  netip.AddrPort
		then func(r *rig, s *Socket) // before the wait
		want time.Duration
	}{
		{"one datagram", Config{}, f.server, nil, 30 * time.Second},
		{"question and answer", Config{}, f.server, func(_ *rig, s *Socket) {
			s.WriteToUDPAddrPort(nil, f.server)
		}, 30 * time.Second},
		{"a stream of answers", Config{}, f.server, func(_ *rig, s *Socket) {
			s.WriteToUDPAddrPort(nil, f.server)
			s.WriteToUDPAddrPort(nil, f.server)
		}, 5 * time.Minute},
		{"two datagrams", Config{}, f.server, func(r *rig, _ *Socket) {
			r.receive(f.client, f.server, "x")
		}, 5 * time.Minute},
		{"DNS", Config{}, dns, func(r *rig, _ *Socket) {
			r.receive(f.client, dns, "x")
		}, 10 * time.Second},
		{"DNS and others", Config{}, dns, func(r *rig, _ *Socket) {
			r.receive(f.client, f.server, "x")
		}, 5 * time.Minute},
		{"own times", Config{IdleTimeout: time.Minute, OneShotTimeout: 2 * time.Second}, f.server, nil, 2 * time.Second},
		{"never longer", Config{IdleTimeout: time.Second}, f.server, nil, time.Second},
		{"DNS never longer", Config{IdleTimeout: time.Second}, dns, nil, time.Second},
		{"no one-shot", Config{OneShotTimeout: -1}, f.server, nil, 5 * time.Minute},
		{"no DNS", Config{DNSIdleTimeout: -1, OneShotTimeout: -1}, dns, nil, 5 * time.Minute},
		{"never", Config{IdleTimeout: -1}, f.server, nil, -1},
		{"SetIdleTimeout", Config{}, f.server, func(_ *rig, s *Socket) {
			s.SetIdleTimeout(time.Hour)
			s.SetIdleTimeout(3 * time.Second)
		}, 3 * time.Second},
		{"SetIdleTimeout never", Config{}, f.server, func(_ *rig, s *Socket) { s.SetIdleTimeout(-1) }, -1},
		{"SetIdleTimeout back", Config{IdleTimeout: -1}, f.server, func(_ *rig, s *Socket) {
			s.SetIdleTimeout(time.Second)
			s.SetIdleTimeout(0)
		}, -1},
		{"the client refreshes", Config{}, f.server, func(r *rig, s *Socket) {
			for range 10 {
				time.Sleep(20 * time.Second)
				r.receive(f.client, f.server, "x")
				read(s)
			}
		}, 5 * time.Minute},
		{"a write does not", Config{}, f.server, func(r *rig, s *Socket) {
			r.receive(f.client, f.server, "x")
			time.Sleep(time.Minute)
			s.WriteToUDPAddrPort(nil, f.server)
		}, 4 * time.Minute},
		{"but may", Config{WriteRefreshes: true}, f.server, func(r *rig, s *Socket) {
			r.receive(f.client, f.server, "x")
			time.Sleep(time.Minute)
			s.WriteToUDPAddrPort(nil, f.server)
		}, 5 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tc.cfg)
				s := r.opened(f.client, tc.dst)
				if tc.then != nil {
					tc.then(r, s)
				}
				if got := lives(t, s); got != tc.want {
					t.Errorf("lived %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// A burst of DNS queries leaves nothing behind: no Socket, no timer, and what
// nobody read is counted.
func TestDNSBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[1]
		r := newRig(t, Config{AcceptQueue: 20000})
		const n = 10000
		for i := range n {
			src := netip.AddrPortFrom(f.client.Addr(), uint16(1000+i))
			r.receive(src, netip.AddrPortFrom(f.server.Addr(), 53), "query")
		}
		if got := r.Stats(); got.Sockets != n || got.Waiting != n || got.Sources != 1 {
			t.Errorf("%+v", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := r.Stats(); got.Sockets != 0 || got.Sources != 0 || got.QueuedBytes != 0 {
			t.Errorf("after the timeout: %+v", got)
		}
		if r.flows.Len() != 0 || r.expiry.cancel != nil {
			t.Errorf("%d flows, timer %v", r.flows.Len(), r.expiry.cancel != nil)
		}
		r.wantDrops(drop.UDPClosed, n)
	})
}

// Sockets that expire one after another share a few wake-ups.
func TestSweepsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		timers := 0
		r := newRig(t, Config{}, func(e *Env) {
			e.AfterFunc = func(d time.Duration, f func()) func() bool {
				mu.Lock()
				timers++
				mu.Unlock()
				return time.AfterFunc(d, f).Stop
			}
		})
		f := families[0]
		for i := range 1000 { // over one second
			r.receive(netip.AddrPortFrom(f.client.Addr(), uint16(1+i)), f.server, "x")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if timers > 8 {
			t.Errorf("%d timers for one second of expiries", timers)
		}
		if got := r.Stats().Sockets; got != 0 {
			t.Errorf("%d Sockets left", got)
		}
	})
}

// The clock of the stack rules idle timeouts.
func TestIdleClock(t *testing.T) {
	var mu sync.Mutex
	now := time.Unix(1000, 0)
	var fire func()
	r := newRig(t, Config{}, func(e *Env) {
		e.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		e.AfterFunc = func(_ time.Duration, f func()) func() bool {
			mu.Lock()
			defer mu.Unlock()
			fire = f
			return func() bool { mu.Lock(); defer mu.Unlock(); was := fire != nil; fire = nil; return was }
		}
	})
	s := r.opened(families[0].client, families[0].server)
	for _, step := range []struct {
		d    time.Duration
		ends bool
	}{{29 * time.Second, false}, {time.Second, true}} {
		mu.Lock()
		now = now.Add(step.d)
		f := fire
		fire = nil
		mu.Unlock()
		f()
		if ended := s.err() != nil; ended != step.ends {
			t.Fatalf("after %v: ended %v", step.d, ended)
		}
	}
}

package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/netstack"
)

// woken counts what a signal said.
func woken(c signal) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestDeadline moves a deadline about in fake time.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		sig := newSignal()
		clock := wallClock{}
		in := func(n time.Duration) time.Time { return time.Now().Add(n) }
		at := func(what string, passed, wake bool) {
			t.Helper()
			synctest.Wait()
			if got := d.passed.Load(); got != passed {
				t.Errorf("%s: passed = %v", what, got)
			}
			if got := woken(sig); got != wake {
				t.Errorf("%s: woken = %v", what, got)
			}
		}

		at("none", false, false)
		d.set(clock, in(-time.Second), sig)
		at("in the past", true, true)
		d.set(clock, time.Time{}, sig)
		at("taken away", false, false)

		d.set(clock, in(10*time.Second), sig)
		time.Sleep(9 * time.Second)
		at("before", false, false)
		time.Sleep(2 * time.Second)
		at("after", true, true)

		d.set(clock, in(10*time.Second), sig)
		d.set(clock, in(20*time.Second), sig) // later: the timer stays and looks again
		time.Sleep(15 * time.Second)
		at("moved back", false, false)
		time.Sleep(6 * time.Second)
		at("moved back and passed", true, true)

		d.set(clock, in(20*time.Second), sig)
		d.set(clock, in(5*time.Second), sig)
		time.Sleep(6 * time.Second)
		at("moved forward", true, true)

		d.set(clock, in(5*time.Second), sig)
		d.set(clock, time.Time{}, sig)
		time.Sleep(time.Minute)
		at("cancelled", false, false)

		d.set(clock, in(5*time.Second), sig)
		d.set(clock, time.Time{}, sig)
		d.set(clock, in(time.Second), sig) // forward of a timer that is still armed
		time.Sleep(2 * time.Second)
		at("set again", true, true)

		d.set(clock, in(5*time.Second), sig)
		d.stop()
		time.Sleep(time.Minute)
		at("stopped", false, false)
	})
}

// steppedClock is a clock that somebody sets, and its own only timer.
type steppedClock struct {
	now  time.Time
	left time.Duration // of the timer; 0 if it does not run
	fire func()
}

func (c *steppedClock) Now() time.Time { return c.now }

func (c *steppedClock) AfterFunc(d time.Duration, f func()) netstack.Timer {
	c.left, c.fire = d, f
	return c
}

func (c *steppedClock) Reset(d time.Duration) bool { c.left = d; return true }
func (c *steppedClock) Stop() bool                 { c.left = 0; return true }

// TestDeadlineClockSetBack: a deadline of the system's clock, which is set back while
// the timer runs, comes as much later; it is not lost.
func TestDeadlineClockSetBack(t *testing.T) {
	var d deadline
	sig := newSignal()
	c := &steppedClock{now: time.Unix(1_000_000, 0)}
	at := c.now.Add(10 * time.Second)
	d.set(c, at, sig)
	c.now, c.left = at.Add(-3*time.Second), 0 // 10 s on, and 3 back
	c.fire()
	if d.passed.Load() || c.left != 3*time.Second {
		t.Fatalf("passed %v, the timer runs for %v, want 3 s", d.passed.Load(), c.left)
	}
	c.now = at
	c.fire()
	if !d.passed.Load() || !woken(sig) {
		t.Error("the deadline has not passed")
	}
}

// TestDeadlineMovedWhileBlocked shortens and takes away the deadline of a call that
// waits already.
func TestDeadlineMovedWhileBlocked(t *testing.T) {
	r := newRig(t, Config{})
	calls := []struct {
		name string
		call func(s *Stream) error
		set  func(s *Stream, t time.Time) error
	}{
		{"Read", func(s *Stream) error { _, err := s.Read(make([]byte, 1)); return err }, (*Stream).SetReadDeadline},
		{"Peek", func(s *Stream) error { _, err := s.Peek(make([]byte, 1)); return err }, (*Stream).SetReadDeadline},
		{"Discard", func(s *Stream) error { _, err := s.Discard(1); return err }, (*Stream).SetReadDeadline},
		{"WriteTo", func(s *Stream) error { _, err := s.WriteTo(io.Discard); return err }, (*Stream).SetDeadline},
		{"Write", func(s *Stream) error { _, err := s.Write(make([]byte, 64<<20)); return err }, (*Stream).SetWriteDeadline},
		{"small Writes", func(s *Stream) error {
			for {
				if _, err := s.Write(make([]byte, 500)); err != nil {
					return err
				}
			}
		}, (*Stream).SetDeadline},
		{"Flush", func(s *Stream) error { return s.Flush() }, (*Stream).SetWriteDeadline},
		{"ReadFrom", func(s *Stream) error { _, err := s.ReadFrom(endless{}); return err }, (*Stream).SetWriteDeadline},
	}
	for _, tc := range calls {
		t.Run(tc.name, func(t *testing.T) {
			a, b := r.pair()
			if tc.name == "Flush" {
				fill(t, b)
			}
			if err := tc.set(b, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 2 { // still passed at the second call
					err := tc.call(b)
					var ne net.Error
					if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
						t.Errorf("%v", err)
					}
				}
			})
			tc.set(b, time.Now().Add(10*time.Millisecond))
			wg.Wait()
			// The stream is as good as before.
			tc.set(b, time.Time{})
			wg.Go(func() { io.Copy(io.Discard, a) })
			if _, err := b.Write([]byte("goes on")); err != nil {
				t.Errorf("after the deadline was taken away: %v", err)
			}
			if err := b.Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
			b.Close()
			wg.Wait()
			a.Close()
		})
	}
}

// TestExactCounts cuts Writes of every size short by their deadline: what the peer
// gets is what they said.
func TestExactCounts(t *testing.T) {
	r := newRig(t, Config{})
	for _, step := range []int{1, 100, 5000, 16 << 10, 100_000} {
		a, b := r.pair()
		want := pattern(4 << 20)
		accepted := 0
		for cuts := 0; cuts < 4 && accepted < len(want); {
			b.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			n, err := b.Write(want[accepted:min(accepted+step, len(want))])
			accepted += n
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				cuts++
				io.CopyN(io.Discard, a, int64(min(cuts*1000, accepted-int(a.in.Load()))))
			}
			if step == 1 && accepted > 200_000 {
				break
			}
		}
		done := int(a.in.Load())
		b.SetWriteDeadline(time.Time{})
		b.Close()
		got, err := io.ReadAll(a)
		if err != nil || done+len(got) != accepted || string(got) != string(want[done:accepted]) {
			t.Errorf("writes of %d: %d accepted, %d came, %v", step, accepted, done+len(got), err)
		}
		a.Close()
	}
}

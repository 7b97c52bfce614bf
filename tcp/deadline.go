package tcp

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/internal/netstack"
)

var errContextDeadline error = context.DeadlineExceeded

// deadline is one direction's deadline. It costs a timer only once one was set,
// and a call into the runtime only when it is moved forward: a later deadline
// lets the pending timer fire and look again, so that the usual "set, read, set,
// read" costs a few loads.
type deadline struct {
	passed atomic.Bool

	mu    sync.Mutex
	at    time.Time // zero: none
	armed time.Time // when the timer fires; zero: it does not
	timer netstack.Timer
}

// set moves the deadline to t, zero for none; sig is woken when it passes.
func (d *deadline) set(c netstack.Clock, t time.Time, sig signal) {
	d.mu.Lock()
	d.at = t
	if t.IsZero() {
		d.passed.Store(false)
		d.mu.Unlock()
		return
	}
	left := t.Sub(c.Now())
	if left <= 0 {
		d.passed.Store(true)
		d.mu.Unlock()
		sig.wake()
		return
	}
	d.passed.Store(false)
	if d.armed.IsZero() || t.Before(d.armed) {
		d.armed = t
		if d.timer == nil {
			d.timer = c.AfterFunc(left, func() { d.fire(c, sig) })
		} else {
			d.timer.Reset(left)
		}
	}
	d.mu.Unlock()
}

// fire runs when the timer does, which may be early for a deadline that moved.
func (d *deadline) fire(c netstack.Clock, sig signal) {
	d.mu.Lock()
	now := c.Now()
	if d.armed.IsZero() || now.Before(d.armed) {
		// Stopped; or moved forward and armed again; or, for a deadline without a
		// monotonic reading, somebody has set the system's clock back.
		if !d.armed.IsZero() {
			d.timer.Reset(d.armed.Sub(now))
		}
		d.mu.Unlock()
		return
	}
	d.armed = time.Time{}
	switch {
	case d.at.IsZero():
	case now.Before(d.at):
		d.armed = d.at
		d.timer.Reset(d.at.Sub(now))
	default:
		d.passed.Store(true)
		d.mu.Unlock()
		sig.wake()
		return
	}
	d.mu.Unlock()
}

// stop gives the timer up; the deadline stays passed if it was.
func (d *deadline) stop() {
	d.mu.Lock()
	d.at, d.armed = time.Time{}, time.Time{}
	if d.timer != nil {
		d.timer.Stop()
	}
	d.mu.Unlock()
}

// SetDeadline sets both deadlines; see SetReadDeadline and SetWriteDeadline.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.deadlineAllowed(); err != nil {
		return err
	}
	s.rdl.set(s.env.Clock, t, s.rsig)
	s.wdl.set(s.env.Clock, t, s.wsig)
	return nil
}

// SetReadDeadline sets when Read, WriteTo, Peek and Discard return
// os.ErrDeadlineExceeded, blocked calls included. The zero time means never. A
// deadline may be moved at any time, also after it has passed, which takes the
// error away again.
func (s *Stream) SetReadDeadline(t time.Time) error {
	if err := s.deadlineAllowed(); err != nil {
		return err
	}
	s.rdl.set(s.env.Clock, t, s.rsig)
	return nil
}

// SetWriteDeadline is SetReadDeadline for Write, ReadFrom, WriteBuffers and
// Flush. A Write that is cut short says exactly how many bytes were accepted;
// those are sent.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	if err := s.deadlineAllowed(); err != nil {
		return err
	}
	s.wdl.set(s.env.Clock, t, s.wsig)
	return nil
}

func (s *Stream) deadlineAllowed() error {
	if p := s.dead.Load(); p != nil {
		return s.opError(opSet, *p)
	}
	return nil
}

// signal wakes one waiting goroutine. It keeps one wake-up that nobody waited
// for, so a waiter that looks at the state first and waits then misses nothing.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (c signal) wake() {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stopReading says why a read may not go on, or nil.
func (s *Stream) stopReading() error {
	if p := s.dead.Load(); p != nil {
		return *p
	}
	if s.readShut.Load() {
		return errReadShut
	}
	if s.rdl.passed.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

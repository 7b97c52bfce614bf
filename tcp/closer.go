package tcp

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

// Closer keeps the streams that were closed until their last byte and FIN are
// acknowledged, discarding their input, and is the only one to call the engine's
// Close: with input unread that would reset the connection and throw away what the
// peer has not got yet. There is one per stack.
type Closer struct {
	wake chan struct{} // holds one wake-up

	undelivered, lost atomic.Uint64

	// mu guards what follows and, in each stream's note, closing and since. ready
	// holds a stream at most once; both are bounded by the number of streams.
	mu      sync.Mutex
	keeping map[*Stream]struct{}
	ready   []*Stream // to be looked at now
}

// closerPoll is how often streams that wait for their acknowledgement are looked
// at: the engine has no event for it, only for the end of the connection.
const closerPoll = 100 * time.Millisecond

// NewCloser returns a Closer; it does nothing until Run.
func NewCloser() *Closer {
	return &Closer{wake: make(chan struct{}, 1), keeping: make(map[*Stream]struct{})}
}

// CloserStats says what a Closer has to do and could not do.
type CloserStats struct {
	Closing     int    // streams waiting for their last acknowledgement
	Undelivered uint64 // streams that were reset because it did not come in time
	LostBytes   uint64 // bytes of theirs that the peer did not acknowledge
}

// Stats returns the figures as of now.
func (c *Closer) Stats() CloserStats {
	c.mu.Lock()
	n := len(c.keeping)
	c.mu.Unlock()
	return CloserStats{Closing: n, Undelivered: c.undelivered.Load(), LostBytes: c.lost.Load()}
}

// add takes over a stream that was closed.
func (c *Closer) add(s *Stream) {
	now := s.env.Clock.Now()
	c.mu.Lock()
	s.note.closing, s.note.since = true, now
	c.keeping[s] = struct{}{}
	first := len(c.keeping) == 1
	c.mu.Unlock()
	if s.ep.Load().FINAcked() {
		c.poke(s) // the event that told of it may have come too early
	} else if first {
		c.wakeUp() // to set its timer
	}
}

func (c *Closer) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// poke asks for a look at s. It may run under locks of the engine.
func (c *Closer) poke(s *Stream) {
	if s.note.poked.Swap(true) {
		return
	}
	c.mu.Lock()
	c.ready = append(c.ready, s)
	first := len(c.ready) == 1
	c.mu.Unlock()
	if first {
		c.wakeUp()
	}
}

// Run looks after closed streams until ctx ends. Those that are left then belong
// to whoever ends the stack, which kills them.
func (c *Closer) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var look []*Stream
	next := time.Now().Add(closerPoll)
	for {
		now := time.Now()
		c.mu.Lock()
		look = append(look[:0], c.ready...)
		clear(c.ready)
		c.ready = c.ready[:0]
		if !now.Before(next) {
			next = now.Add(closerPoll)
			for s := range c.keeping {
				look = append(look, s)
			}
		}
		c.mu.Unlock()
		for _, s := range look {
			s.note.poked.Store(false)
			if s.closed() {
				c.mu.Lock()
				delete(c.keeping, s)
				c.mu.Unlock()
			}
		}
		clear(look)
		c.mu.Lock()
		busy := len(c.keeping) > 0
		c.mu.Unlock()
		wait := time.Hour
		if busy {
			wait = max(time.Until(next), 0)
		} else {
			next = time.Now().Add(closerPoll)
		}
		timer.Reset(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// closed looks at a closed stream and reports whether it needs no more care. Only
// the closer calls it.
func (s *Stream) closed() bool {
	c := s.env.Closer
	c.mu.Lock()
	closing, since := s.note.closing, s.note.since
	c.mu.Unlock()
	ep := s.ep.Load()
	if !closing || ep == nil {
		return false // poked before Close was through
	}
	st := ep.State()
	if !ended(st) {
		s.discard(ep)
	}
	if ep.FINAcked() {
		err := failure(ep)
		if err == nil && ep.ResetInCloseWait() {
			st, err = netstack.StateError, errResetInCloseWait
		}
		s.discard(ep) // what came meanwhile: the engine resets rather than lose it
		s.peekMu.Lock()
		ep.Close()
		s.peekMu.Unlock()
		if err != nil && st == netstack.StateError {
			s.end(flow.CauseOf(err))
		} else {
			s.end(flow.Closed)
		}
		s.dropBuffer(nil)
		return true
	}
	if limit := s.closeTimeout(); limit >= 0 && s.env.Clock.Now().Sub(since) >= limit {
		s.mu.Lock()
		lost := s.wb.waiting()
		s.mu.Unlock()
		lost += ep.SendQueued()
		c.undelivered.Add(1)
		c.lost.Add(uint64(lost))
		s.env.Drops.Add(drop.CloseUndelivered)
		s.lost.Store(uint64(lost))
		s.end(flow.Undelivered)
		s.abort(ep)
		s.dropBuffer(nil)
		return true
	}
	return false
}

// errResetInCloseWait stands for a reset that the engine reports like an orderly
// end. Writing finds the same error.
const errResetInCloseWait = syscall.EPIPE

// nothing is written to an endpoint that takes nothing, to learn why.
var nothing = []byte{0}

// failure returns the hard error of an endpoint that has ended, or nil if it ended
// in order.
func failure(ep *netstack.Endpoint) error {
	if err := ep.Err(); err != nil {
		return err
	}
	if ep.State() != netstack.StateError {
		return nil
	}
	_, err := ep.Write(nothing)
	return err
}

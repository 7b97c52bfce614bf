package tcp

import (
	"context"
	"syscall"

	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

// Handshaker answers the SYN of a pending stream. Exactly one of its methods is
// called, once, or none if the stream is told to give up by abandon.
type Handshaker interface {
	// Answer calls done once, when the connection is established or will never be:
	// on any goroutine, before it returns perhaps, and with no lock held. The stream
	// takes over the endpoint. giveUp
	// ends the wait with its cause.
	Answer(done func(*netstack.Endpoint, error)) (giveUp func(cause error))
	// Reject refuses the client in the way that fits err.
	Reject(err error)
}

// pending is the part of a stream that was handed out before its handshake.
type pending struct {
	hs   Handshaker
	done chan struct{} // closed when the handshake has ended or will never be

	// The stream's mu guards what follows, and hs once the handshake has begun.

	begun  bool              // somebody decided
	over   bool              // the handshake has ended
	ending error             // why it is to be given up, before that can be
	then   func(ok bool)     // called when it has ended, or nil
	giveUp func(cause error) // while it is under way
}

// Handshake answers the client's SYN and waits until the connection is established.
// It does nothing on a stream that is. When ctx ends first the client is reset, and
// the stream is of no more use. A handshake that another call began is joined, and
// aborted if ctx ends.
func (s *Stream) Handshake(ctx context.Context) error {
	pd := s.pending
	if pd == nil {
		if p := s.dead.Load(); p != nil {
			return s.opError(opHandshake, *p)
		}
		return nil
	}
	if err := context.Cause(ctx); err != nil && s.ep.Load() == nil {
		if s.abandonHandshake(err, err, true) {
			return s.opError(opHandshake, err)
		}
	}
	s.beginHandshake()
	select {
	case <-pd.done:
	case <-ctx.Done():
		s.endHandshake(context.Cause(ctx))
		<-pd.done // it ends at once now
	}
	if s.ep.Load() == nil || s.dead.Load() != nil {
		return s.opError(opHandshake, *s.dead.Load())
	}
	return nil
}

// beginHandshake answers the SYN, unless that was decided before. It does not wait.
func (s *Stream) beginHandshake() { s.answerThen(nil) }

// answerThen is beginHandshake, and calls then, which may be nil, when the handshake has
// ended: at once if it was decided before.
func (s *Stream) answerThen(then func(ok bool)) {
	pd := s.pending
	s.mu.Lock()
	begun := pd.begun
	if !begun {
		pd.begun, pd.then = true, then
	}
	s.mu.Unlock()
	if begun {
		if then != nil {
			then(false)
		}
		return
	}
	giveUp := pd.hs.Answer(s.shaken)
	s.mu.Lock()
	var late error
	if !pd.over {
		pd.giveUp, late = giveUp, pd.ending
	}
	s.mu.Unlock()
	if late != nil {
		giveUp(late)
	}
}

// endHandshake gives up the handshake that is under way, if one is.
func (s *Stream) endHandshake(cause error) {
	s.mu.Lock()
	pd := s.pending
	giveUp := pd.giveUp
	if giveUp == nil && pd.ending == nil {
		pd.ending = cause
	}
	s.mu.Unlock()
	if giveUp != nil {
		giveUp(cause)
	}
}

// shaken takes the end of the handshake in.
func (s *Stream) shaken(ep *netstack.Endpoint, err error) {
	pd := s.pending
	if err != nil {
		last := lasting(err)
		s.mu.Lock()
		s.dead.CompareAndSwap(nil, &last)
		s.closing.Store(true)
		s.mu.Unlock()
		s.end(flow.CauseOf(err))
	} else {
		s.attach(ep)
	}
	s.mu.Lock()
	then := pd.then
	pd.over, pd.giveUp, pd.hs, pd.then = true, nil, nil, nil // with the SYN that it kept
	s.mu.Unlock()
	close(pd.done)
	s.rsig.wake()
	s.wsig.wake()
	if then != nil {
		then(err == nil)
	}
}

// established returns the endpoint, after the handshake if it is still to be done.
// The handshake goes on when the caller's deadline passes: it has a time-out of its
// own, and a deadline may be moved.
func (s *Stream) established(sig signal, stop func() error) (*netstack.Endpoint, error) {
	if ep := s.ep.Load(); ep != nil {
		return ep, nil
	}
	if err := stop(); err != nil {
		return nil, err
	}
	s.beginHandshake()
	for {
		select {
		case <-s.pending.done:
			if ep := s.ep.Load(); ep != nil {
				return ep, nil
			}
			return nil, *s.dead.Load()
		case <-sig:
			if err := stop(); err != nil {
				return nil, err
			}
		}
	}
}

// Reject refuses a stream whose handshake was not decided, and ends it. What the
// client sees fits err: ECONNREFUSED, nil and errors of no other kind make its
// connect fail with "connection refused" (RST); EHOSTUNREACH and ENETUNREACH with
// just these, EACCES and EPERM with "administratively prohibited" (ICMP); time-outs
// leave it without an answer. It is an error after the handshake has begun.
func (s *Stream) Reject(err error) error {
	cause := error(flow.CauseOf(err))
	if !s.abandonHandshake(err, cause, true) {
		if p := s.dead.Load(); p != nil {
			return s.opError(opReject, *p)
		}
		return s.opError(opReject, syscall.EISCONN)
	}
	return nil
}

// abandon ends a stream whose handshake was not decided without calling its
// Handshaker: err is what calls return from then on. It reports false when it comes
// too late.
func (s *Stream) abandon(err error) bool {
	return s.abandonHandshake(err, flow.CauseOf(err), false)
}

// abandonHandshake ends a stream that has no endpoint, with cause. An undecided
// handshake is rejected for reason, if reject is set; one under way is given up. It
// reports whether the handshake was undecided.
func (s *Stream) abandonHandshake(reason, cause error, reject bool) bool {
	pd := s.pending
	s.mu.Lock()
	if pd == nil || s.ep.Load() != nil {
		s.mu.Unlock()
		return false
	}
	undecided := !pd.begun
	if !undecided && s.dead.Load() == nil {
		s.mu.Unlock()
		return false
	}
	pd.begun = true
	last := lasting(endedError{cause})
	if !reject {
		last = lasting(reason)
	}
	s.dead.CompareAndSwap(nil, &last)
	s.closing.Store(true)
	s.mu.Unlock()
	if !undecided {
		s.endHandshake(cause) // shaken ends the flow, with the cause if it comes first
	}
	s.end(cause)
	if undecided {
		if reject {
			pd.hs.Reject(reason)
		}
		close(pd.done)
	}
	s.wake()
	return undecided
}

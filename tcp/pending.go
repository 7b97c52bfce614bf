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
	// Handshake waits until the connection is established. The stream takes
	// over the endpoint and the budget that its buffers were granted. When ctx
	// ends first it returns the context's cause.
	Handshake(ctx context.Context) (*netstack.Endpoint, error)
	// Reject refuses the client in the way that fits err.
	Reject(err error)
}

// pending is the part of a stream that was handed out before its handshake.
type pending struct {
	hs   Handshaker
	done chan struct{} // closed when the handshake has ended or will never be

	// The stream's mu guards what follows, and hs once the handshake has begun.

	begun  bool                    // somebody decided
	cancel context.CancelCauseFunc // ends the handshake under way
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
	if hctx := s.claim(ctx); hctx != nil {
		s.shake(hctx)
	}
	select {
	case <-pd.done:
	case <-ctx.Done():
		s.mu.Lock()
		cancel := pd.cancel
		s.mu.Unlock()
		if cancel != nil {
			cancel(context.Cause(ctx))
		}
		<-pd.done // it ends at once now
	}
	if s.ep.Load() == nil || s.dead.Load() != nil {
		return s.opError(opHandshake, *s.dead.Load())
	}
	return nil
}

// claim makes the caller the one who does the handshake, and returns the context
// to do it under; nil if the handshake was decided before.
func (s *Stream) claim(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	pd := s.pending
	if pd.begun {
		return nil
	}
	pd.begun = true
	ctx, pd.cancel = context.WithCancelCause(ctx)
	return ctx
}

// beginHandshake starts the handshake in a goroutine of the stack, which waits for
// it, unless it was decided before.
func (s *Stream) beginHandshake() {
	if ctx := s.claim(context.Background()); ctx != nil {
		s.env.Go(func() { s.shake(ctx) })
	}
}

// shake does the handshake that the caller has claimed.
func (s *Stream) shake(ctx context.Context) {
	pd := s.pending
	ep, err := pd.hs.Handshake(ctx)
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
	cancel := pd.cancel
	pd.cancel, pd.hs = nil, nil // with the SYN that it kept
	s.mu.Unlock()
	cancel(nil)
	close(pd.done)
	s.rsig.wake()
	s.wsig.wake()
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
	cancel := pd.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(cause) // shake ends the flow, with the cause if it comes first
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

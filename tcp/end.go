package tcp

import (
	"net"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

var errClosed error = net.ErrClosed

// Close ends both directions and returns at once; it is idempotent. What Write
// accepted is sent and the stack keeps the connection until the peer has
// acknowledged it, at most for Config.CloseTimeout. Input is discarded from now
// on. On a stream whose handshake was not decided it is Reject(nil). Close
// returns the error that a background flush met and no call has yet returned.
func (s *Stream) Close() error {
	s.mu.Lock()
	if s.closing.Swap(true) {
		s.mu.Unlock()
		return nil
	}
	s.dead.CompareAndSwap(nil, &errClosed)
	abort, ep := s.abortOn, s.ep.Load()
	s.mu.Unlock()
	s.readShut.Store(true)
	if ep == nil {
		s.abandonHandshake(nil, flow.Closed, true)
		s.end(flow.Closed) // also if the handshake has ended just now: attach gives its endpoint up
		return nil
	}
	if abort {
		s.kill(flow.Reset, errClosed)
		return nil
	}
	err := s.shutWrite()
	s.wake()
	s.discard(ep)
	s.env.Closer.add(s)
	return s.opError(opClose, err)
}

// CloseRead ends reading: input is discarded, so that the peer does not stall,
// and Read returns net.ErrClosed. The peer is told nothing. It never fails on an
// open stream.
func (s *Stream) CloseRead() error {
	if p := s.dead.Load(); p != nil {
		return s.opError(opCloseRead, *p)
	}
	if !s.readShut.Swap(true) {
		s.rsig.wake()
		s.post(postDiscard)
	}
	return nil
}

// CloseWrite sends what Write accepted and a FIN behind it. It does not wait for
// either. Later Writes return EPIPE; reading goes on. A stream whose handshake was
// not decided is answered first. CloseWrite returns the error that a background
// flush met.
func (s *Stream) CloseWrite() error {
	if p := s.dead.Load(); p != nil {
		return s.opError(opCloseWrite, *p)
	}
	err := s.shutWrite()
	s.wsig.wake()
	if ep := s.ep.Load(); ep == nil {
		s.beginHandshake()
	} else if err == nil {
		err = failure(ep)
	}
	return s.opError(opCloseWrite, err)
}

// Reset ends the stream at once with a RST; what is queued either way is
// dropped. The flow's cause is "reset". It may follow a Close that is still
// delivering, and it never fails.
func (s *Stream) Reset() error { return s.ResetCause(nil) }

// ResetCause is Reset with a cause for Context, Info and the stack's statistics;
// calls return an error that matches it and net.ErrClosed. nil is "reset".
func (s *Stream) ResetCause(cause error) error {
	s.kill(killed(cause, flow.Reset))
	return nil
}

// Kill is ResetCause for whoever got the stream from the stack's list of flows;
// nil is "killed". Only the first end of a stream counts.
func (s *Stream) Kill(cause error) { s.kill(killed(cause, flow.Killed)) }

// kill ends the stream with cause; err is what calls return from then on.
func (s *Stream) kill(cause, err error) {
	s.mu.Lock()
	s.dead.CompareAndSwap(nil, &err)
	s.closing.Store(true)
	ep := s.ep.Load()
	s.mu.Unlock()
	s.readShut.Store(true)
	if ep == nil {
		s.abandonHandshake(cause, cause, true)
		s.end(cause) // as in Close
		return
	}
	s.end(cause) // before the engine's own events can give it another
	s.abort(ep)
	s.dropBuffer(nil)
	s.wake()
}

// abort resets the endpoint. Peeked memory is in nobody's hands meanwhile: the
// engine would reuse it under a system call.
func (s *Stream) abort(ep *netstack.Endpoint) {
	s.peekMu.Lock()
	ep.Abort()
	s.peekMu.Unlock()
}

// wake lets every waiting call look at the state again, and gives up the timers
// of the deadlines.
func (s *Stream) wake() {
	s.rdl.stop()
	s.wdl.stop()
	s.rsig.wake()
	s.wsig.wake()
}

// hungUp looks at an endpoint that says it has finished or failed. It runs on a
// flusher.
func (s *Stream) hungUp() {
	ep := s.ep.Load()
	if ep == nil || !ended(ep.State()) || s.closing.Load() {
		return // a false alarm, or the closer's business
	}
	err := failure(ep)
	if err == nil && ep.ResetInCloseWait() {
		err = errResetInCloseWait
	}
	if err != nil {
		s.dropBuffer(err) // first: whoever hears of the end finds the loss
		s.end(flow.CauseOf(err))
		return
	}
	s.end(flow.Closed)
}

// end settles the account of the flow. Only the first call does anything.
func (s *Stream) end(cause error) {
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return
	}
	s.cause, s.endedAt = cause, s.env.Clock.Now()
	s.mu.Unlock()
	s.giveBack()
	s.env.Flows.Remove(s.id, s.FlowInfo())
	if s.onEnd != nil {
		s.onEnd()
	}
	// Last: whoever hears of the end finds everything settled. A context that was
	// asked for meanwhile has ended already, and does so once.
	s.mu.Lock()
	cancel := s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
	s.tell()
}

// giveBack returns what the stream holds beside its data, and was promised, to the
// budget, once.
func (s *Stream) giveBack() {
	s.tuneMu.Lock()
	defer s.tuneMu.Unlock()
	if s.returned {
		return
	}
	s.returned = true
	s.env.Budget.Withdraw(s.rbuf, 0)
	s.env.Budget.Withdraw(s.sbuf, 0)
	s.rbuf, s.sbuf = 0, 0
	s.env.Budget.Give(budget.Flow, budget.StreamCost)
}

// discard throws away what has been received. It runs on a flusher or the closer.
func (s *Stream) discard(ep *netstack.Endpoint) {
	for range maxDiscards {
		s.peekMu.Lock()
		n, err := ep.Discard(discardSize)
		s.peekMu.Unlock()
		s.in.Add(uint64(n))
		if err != nil || n < discardSize {
			return
		}
	}
	s.post(postDiscard) // others have their turn first
}

// discardSize is what one engine call throws away, maxDiscards how many calls a
// stream gets before the next stream has its turn.
const (
	discardSize = 1 << 20
	maxDiscards = 8
)

// FlowInfo implements flow.Flow.
func (s *Stream) FlowInfo() flow.Info {
	s.mu.Lock()
	cause, endedAt := s.cause, s.endedAt
	s.mu.Unlock()
	return flow.Info{
		ID: s.id, Network: network,
		Source: s.source, Destination: s.destination, Dialed: s.dialed,
		Opened: s.opened, Ended: endedAt,
		State: s.state(), In: s.in.Load(), Out: s.out.Load(), Cause: cause,
	}
}

// state returns the TCP state of the endpoint, as RFC 9293 names it.
func (s *Stream) state() string {
	if ep := s.ep.Load(); ep != nil {
		return ep.State().String()
	}
	if s.dead.Load() != nil {
		return netstack.StateClose.String()
	}
	return netstack.StateSynRecv.String()
}

// closeTimeout returns how long this stream may take to deliver its last bytes;
// negative is for ever.
func (s *Stream) closeTimeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.linger > 0 {
		return s.linger
	}
	return s.cfg.CloseTimeout
}

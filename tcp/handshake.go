package tcp

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/internal/netstack"
)

// Engine is what a Table needs of the stack's engine: to answer a SYN, as
// netstack.Engine does. done is called once, when the connection is established or will
// never be; giveUp ends that wait, and resets the connection.
type Engine interface {
	Answer(syn *netstack.SYN, opt netstack.EndpointOptions, done func(*netstack.Endpoint, error)) (giveUp func(cause error))
}

// Why a request did not become a connection.
var (
	errHandshakeTimeout = fmt.Errorf("handshake not completed in time: %w", syscall.ETIMEDOUT)
	errDecideTimeout    = fmt.Errorf("no decision about the SYN in time: %w", syscall.ETIMEDOUT)
	errGivenUp          = fmt.Errorf("request given up: %w", net.ErrClosed)
	errAnswering        = fmt.Errorf("the SYN was answered: %w", syscall.EALREADY)
	errClientReset      = fmt.Errorf("client gave up: %w", syscall.ECONNRESET)
)

// Answer answers the SYN; done is called once, with the connection or with the reason
// why there is none. Then the request is over: but for its stream's place everything
// was given back, and a failure counted. giveUp ends the wait.
func (r *request) Answer(done func(*netstack.Endpoint, error)) (giveUp func(cause error)) {
	t := r.table
	syn, err := t.begin(r)
	if err != nil {
		done(nil, err)
		return func(error) {}
	}
	over := func(ep *netstack.Endpoint, err error) {
		defer t.answers.Done()
		done(t.over(r, ep, err))
	}
	size, _ := t.env.Budget.Start() // it was let in, and dialled for perhaps
	giveUp = t.engine.Answer(syn, netstack.EndpointOptions{ReceiveBuffer: size, SendBuffer: size}, over)
	t.mu.Lock()
	r.giveUp = giveUp
	late := r.err // sweep or the end came before there was a way to give up
	t.mu.Unlock()
	if late != nil {
		giveUp(late)
	}
	return giveUp
}

// over ends r, whose answer came to ep or to err.
func (t *synTable) over(r *request, ep *netstack.Endpoint, err error) (*netstack.Endpoint, error) {
	t.mu.Lock()
	if err != nil {
		r.err = err
	}
	t.removeLocked(r)
	t.mu.Unlock()
	t.handshakes.Release(r.src.Addr(), r.dst)
	if err != nil {
		t.env.Drops.Add(causeOfFailure(err))
		return nil, err
	}
	return ep, nil
}

// causeOfFailure says under which cause a failed handshake is counted.
func causeOfFailure(err error) drop.Cause {
	switch {
	case errors.Is(err, errHandshakeTimeout):
		return drop.HandshakeTimeout
	case errors.Is(err, errGivenUp):
		return drop.Rejected
	case errors.Is(err, net.ErrClosed):
		return drop.Closed
	}
	return drop.HandshakeFailed
}

// established makes the stream of a request whose endpoint is established.
func (t *Table) established(ep *netstack.Endpoint, r *request) *Stream {
	s := t.ownStream(r)
	t.env.Flows.Add(s.id, s)
	s.attach(ep)
	return s
}

// ownStream returns a stream for r that gives its place back when it ends.
func (t *Table) ownStream(r *request) *Stream {
	s := newStream(t.env, t.cfg, r.src, r.dst, false)
	s.onEnd = func() { t.syns.streams.Release(s.source.Addr(), s.destination) }
	return s
}

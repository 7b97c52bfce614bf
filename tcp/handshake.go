package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/netstack"
)

// Engine is what a Table needs of the stack's engine: to answer a SYN. It waits
// until the connection is established or ctx has ended, which resets it.
type Engine interface {
	Handshake(ctx context.Context, syn *netstack.SYN, opt netstack.EndpointOptions) (*netstack.Endpoint, error)
}

// Why a request did not become a connection.
var (
	errHandshakeTimeout = fmt.Errorf("handshake not completed in time: %w", syscall.ETIMEDOUT)
	errDecideTimeout    = fmt.Errorf("no decision about the SYN in time: %w", syscall.ETIMEDOUT)
	errGivenUp          = fmt.Errorf("request given up: %w", net.ErrClosed)
	errAnswering        = fmt.Errorf("the SYN was answered: %w", syscall.EALREADY)
	errClientReset      = fmt.Errorf("client gave up: %w", syscall.ECONNRESET)
	errMemory           = fmt.Errorf("memory limit: %w", syscall.ENOBUFS)
)

// Handshake answers the SYN and waits until the connection stands. On an error
// the request is over: everything but its stream's place was given back, and the
// failure counted.
func (r *request) Handshake(ctx context.Context) (*netstack.Endpoint, error) {
	t := r.table
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	syn, err := t.begin(r, cancel)
	if err != nil {
		return nil, err
	}
	ep, err := t.handshake(ctx, syn)
	if err == nil && !t.grant(ep) {
		err = errMemory
		ep.Abort()
	}
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

// handshake runs the engine's handshake with the buffers that the budget has.
func (t *synTable) handshake(ctx context.Context, syn *netstack.SYN) (*netstack.Endpoint, error) {
	size, ok := t.room()
	if !ok {
		t.env.sendAnswerTo(syn.Raw, reset)
		return nil, errMemory
	}
	ep, err := t.engine.Handshake(ctx, syn, netstack.EndpointOptions{ReceiveBuffer: size, SendBuffer: size})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever the engine made of it
	}
	return ep, err
}

// room asks the budget what a stream would start with. Nothing is held for a
// handshake: half-open connections have no data, and a flood of them must not
// use up the memory of those that have.
func (t *synTable) room() (size int, ok bool) {
	size, ok = t.env.Budget.Start()
	if ok {
		t.env.Budget.Give(budget.Receive, int64(size))
		t.env.Budget.Give(budget.Send, int64(size))
	}
	return size, ok
}

// take takes the memory of an established endpoint out of the budget; its stream
// gives it back.
func (t *synTable) take(ep *netstack.Endpoint) bool {
	receive, send := int64(ep.ReceiveBuffer()), int64(ep.SendBuffer())
	if !t.env.Budget.Take(budget.Receive, receive) {
		return false
	}
	if !t.env.Budget.Take(budget.Send, send) {
		t.env.Budget.Give(budget.Receive, receive)
		return false
	}
	return true
}

// causeOfFailure says under which cause a failed handshake is counted.
func causeOfFailure(err error) drop.Cause {
	switch {
	case errors.Is(err, errHandshakeTimeout):
		return drop.HandshakeTimeout
	case errors.Is(err, errMemory):
		return drop.MemoryLimit
	case errors.Is(err, errGivenUp):
		return drop.Rejected
	case errors.Is(err, net.ErrClosed):
		return drop.Closed
	}
	return drop.HandshakeFailed
}

// idleWorkers is how many goroutines of a crew wait for more work: the engine's
// deep calls grow a fresh stack for every connection, a used one has grown.
const idleWorkers = 8

// crew runs handshakes in the background, each in a goroutine of its own,
// because the engine's handshake waits. The number of goroutines is bounded;
// beyond it a job is refused. stop waits for all of them.
type crew struct {
	workers errgroup.Group
	jobs    chan func() // to an idle worker, unbuffered
	idle    atomic.Int32
	stopped chan struct{} // closed by stop

	mu    sync.Mutex // a leaf; guards the start of workers against stop
	ended bool
}

// newCrew returns a crew for that many jobs at once; a negative number is no
// bound.
func newCrew(limit int) *crew {
	c := &crew{jobs: make(chan func()), stopped: make(chan struct{})}
	if limit >= 0 {
		limit += idleWorkers // one that is about to go idle must not cost a job
	}
	c.workers.SetLimit(limit)
	return c
}

// start runs job in the background, or returns false. It never waits.
func (c *crew) start(job func()) bool {
	select {
	case c.jobs <- job:
		return true
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	return c.workers.TryGo(func() error { // awaited by stop
		c.work(job)
		return nil
	})
}

func (c *crew) work(job func()) {
	for {
		job()
		if c.idle.Add(1) > idleWorkers {
			c.idle.Add(-1)
			return
		}
		select {
		case job = <-c.jobs:
			c.idle.Add(-1)
		case <-c.stopped:
			return
		}
	}
}

// stop ends the idle workers and waits for the others; it is called once.
func (c *crew) stop() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	close(c.stopped)
	_ = c.workers.Wait() // no job returns an error
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

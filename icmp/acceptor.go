package icmp

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/limit"
	"l3extract/internal/packet"
)

// Acceptor hands out the echo requests of clients. All methods may be called at once
// by anyone.
type Acceptor struct {
	env  Env
	rate *limit.Rate
	open atomic.Bool

	// mu orders what the channel has no order for: sends and its close.
	mu sync.Mutex
	// echoes is the queue. Nothing waits for room: an echo that finds none is dropped
	// and counted.
	echoes chan *Echo
	err    error // once closed
	// granted has what of the budget each echo in the queue holds, oldest first, and
	// before these what some hold that were taken from the queue since settle.
	granted []int64
}

// NewAcceptor returns an Acceptor that is not open yet. Only package stack makes them.
func NewAcceptor(env Env) *Acceptor {
	env = env.defaults()
	return &Acceptor{
		env:    env,
		rate:   limit.NewRate(echoRate, echoBurst, env.SourceKey),
		echoes: make(chan *Echo, env.Queue),
	}
}

// Open makes the Acceptor take echoes, unless it is closed.
func (a *Acceptor) Open() { a.open.Store(true) }

// HandlePacket takes a whole echo request that has passed the door, on the goroutine
// that reads the conn: it copies what it keeps and never waits.
func (a *Acceptor) HandlePacket(p *packet.Packet) {
	cause := drop.None
	switch {
	case !a.open.Load(), p.Dst.IsMulticast():
		cause = drop.EchoOff
	case !a.rate.Allow(p.Src, a.env.Now()):
		cause = drop.EchoRate
	default:
		cause = a.offer(p)
	}
	a.env.Drops.Add(cause)
}

// offer puts an echo into the queue, or says why it did not.
func (a *Acceptor) offer(p *packet.Packet) drop.Cause {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil:
		return drop.EchoOff
	case len(a.echoes) == cap(a.echoes):
		return drop.EchoQueueFull // before the payload is copied
	}
	a.settleLocked()
	n := int64(echoCost + len(p.Payload))
	if !a.env.Budget.Take(budget.Datagram, n) {
		return drop.MemoryLimit
	}
	a.granted = append(a.granted, n)
	a.echoes <- newEcho(a, p) // there is room: nobody else sends
	return drop.None
}

// echoCost is what an Echo takes beside its payload, in bytes.
const echoCost = 160

// settle gives back what echoes hold that have left the queue. A channel does not tell
// when, so it is done whenever one is taken by AcceptEcho, answered or added.
func (a *Acceptor) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settleLocked()
}

func (a *Acceptor) settleLocked() {
	taken := len(a.granted) - len(a.echoes) // only we add
	for _, n := range a.granted[:taken] {
		a.env.Budget.Give(budget.Datagram, n)
	}
	a.granted = slices.Delete(a.granted, 0, taken)
}

// AcceptEcho waits for the next echo. It fails with net.ErrClosed once the Acceptor is
// closed, and with ctx's cause when that ends first.
func (a *Acceptor) AcceptEcho(ctx context.Context) (*Echo, error) {
	if ctx.Err() == nil {
		select {
		case e, ok := <-a.echoes:
			if ok {
				a.settle()
				return e, nil
			}
			return nil, a.opError(a.closed())
		case <-ctx.Done():
		}
	}
	return nil, a.opError(context.Cause(ctx))
}

// Echoes returns the channel of echoes, always the same, closed when the Acceptor is.
func (a *Acceptor) Echoes() <-chan *Echo { return a.echoes }

// Close ends accepting: what waits is dropped, and that and what comes later is
// counted and not answered. It may be called any number of times and returns nil.
func (a *Acceptor) Close() error {
	a.CloseCause(net.ErrClosed)
	return nil
}

// CloseCause is Close with the error that later calls of AcceptEcho return; it is for
// package stack.
func (a *Acceptor) CloseCause(err error) {
	a.mu.Lock()
	if a.err != nil {
		a.mu.Unlock()
		return
	}
	a.err = err
	close(a.echoes)
	a.mu.Unlock()
	for range a.echoes {
		a.env.Drops.Add(drop.EchoOff)
	}
	a.settle()
}

func (a *Acceptor) closed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Addr returns an address whose string is "any".
func (a *Acceptor) Addr() net.Addr { return anyAddr{} }

type anyAddr struct{}

func (anyAddr) Network() string { return network }
func (anyAddr) String() string  { return "any" }

const network = "icmp"

func (a *Acceptor) opError(err error) error {
	return &net.OpError{Op: "accept", Net: network, Addr: a.Addr(), Err: err}
}

package udp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"l3extract/internal/drop"
)

// Acceptor hands out the Sockets of datagrams that belong to none yet. Until
// somebody has called stack.Stack.UDP it refuses: such datagrams are
// answered with port unreachable and counted. All methods may be called at once
// by anyone.
type Acceptor struct {
	asked atomic.Bool

	// mu orders what the channel has no order for: sends and its close.
	mu sync.Mutex
	// sockets is the accept queue. Nothing waits for room: a datagram that would
	// open one Socket too many is dropped and counted.
	sockets chan *Socket
	err     error // once closed
}

func newAcceptor(t *Table) *Acceptor {
	return &Acceptor{sockets: make(chan *Socket, t.cfg.AcceptQueue)}
}

// AcceptSocket waits for the next Socket, whose first datagram is there to be
// read. It fails with net.ErrClosed once the Acceptor is closed, and with ctx's
// cause when that ends first.
func (a *Acceptor) AcceptSocket(ctx context.Context) (*Socket, error) {
	a.asked.Store(true)
	for ctx.Err() == nil {
		select {
		case s, ok := <-a.sockets:
			if !ok {
				return nil, a.opError(a.closedErr())
			}
			if s.err() != nil { // expired or evicted while it waited
				continue
			}
			return s, nil
		case <-ctx.Done():
		}
	}
	return nil, a.opError(context.Cause(ctx))
}

// Sockets returns the channel of new Sockets, always the same, closed when the
// Acceptor is. A Socket on it may have ended while it waited; its calls say so.
func (a *Acceptor) Sockets() <-chan *Socket {
	a.asked.Store(true)
	return a.sockets
}

// Close ends accepting, and that only: Sockets that were accepted live on, those
// that still wait are rejected, as is every later one. It may be called any
// number of times and returns nil.
func (a *Acceptor) Close() error {
	a.close(net.ErrClosed)
	return nil
}

// Addr returns an address whose string is "any:0".
func (a *Acceptor) Addr() net.Addr { return anyAddr{} }

type anyAddr struct{}

func (anyAddr) Network() string { return network }
func (anyAddr) String() string  { return "any:0" }

// close closes with err as the reason, once.
func (a *Acceptor) close(err error) {
	a.mu.Lock()
	if a.err != nil {
		a.mu.Unlock()
		return
	}
	a.err = err
	close(a.sockets)
	a.mu.Unlock()
	for s := range a.sockets {
		_ = s.Reject(nil) // fails for one that has ended, which is as well
	}
}

// room tells why no further Socket can be taken.
func (a *Acceptor) room() drop.Cause {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil, !a.asked.Load():
		return drop.UDPNobody
	case len(a.sockets) == cap(a.sockets):
		return drop.UDPAcceptQueueFull
	}
	return drop.None
}

// offer puts s into the queue, unless that is full or closed.
func (a *Acceptor) offer(s *Socket) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return false
	}
	select {
	case a.sockets <- s:
		return true
	default:
		return false
	}
}

// waiting returns the length of the queue.
func (a *Acceptor) waiting() int { return len(a.sockets) }

func (a *Acceptor) closedErr() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *Acceptor) opError(err error) error {
	return &net.OpError{Op: opAccept, Net: network, Addr: a.Addr(), Err: err}
}

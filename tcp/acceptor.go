package tcp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/limit"
	"l3extract/internal/netstack"
)

const opAccept = "accept"

// Acceptor hands out the streams that clients ask for: those for any address and
// port that no listener has (stack.Stack.TCP), or those for one own port
// (stack.Stack.Listen). It is a net.Listener, and may be used by any number of
// goroutines at once.
//
// A place in its queue is reserved before a SYN is answered; with none free the
// SYN is dropped and counted. The acceptor of all addresses refuses everything
// (RST) until somebody has called stack.Stack.TCP: from then on SYNs wait, as they
// do for any listener.
type Acceptor struct {
	table *Table
	addr  net.Addr
	lazy  bool

	places *limit.Table  // of both queues; held from the SYN until the stream is taken
	queue  chan waiting  // bounded by places: a send never waits. Pending streams if lazy, else established
	ready  chan waiting  // the same bound; streams that Accept of a lazy acceptor established
	asked  atomic.Bool   // somebody wants streams
	done   chan struct{} // closed when the acceptor has ended

	mu      sync.Mutex // a leaf
	err     error      // why it ended; set before done is closed
	streams chan *Stream
	feeding bool // establish runs
}

var _ net.Listener = (*Acceptor)(nil)

// waiting is a stream in a queue.
type waiting struct {
	s *Stream
	r *request // of a pending stream, else nil
}

func newAcceptor(t *Table, addr net.Addr, lazy bool) *Acceptor {
	n := t.cfg.AcceptQueue
	a := &Acceptor{
		table: t, addr: addr, lazy: lazy,
		places: limit.New(limit.Config{Total: n}, t.key),
		queue:  make(chan waiting, n),
		done:   make(chan struct{}),
	}
	if lazy {
		a.ready = make(chan waiting, n)
	}
	return a
}

// Addr returns the address that the acceptor listens on; its network is "tcp",
// and the acceptor of all addresses says "any:0".
func (a *Acceptor) Addr() net.Addr { return a.addr }

// anyAddr is the address of the acceptor of all addresses.
type anyAddr struct{}

func (anyAddr) Network() string { return network }
func (anyAddr) String() string  { return "any:0" }

// Accept waits for a stream and returns it, established, with LazyHandshake too.
// It implements net.Listener. Its errors are *net.OpError: after Close they match
// net.ErrClosed, after the end of the stack the cause of that as well.
func (a *Acceptor) Accept() (net.Conn, error) {
	if !a.lazy {
		w, err := a.next(context.Background(), a.queue)
		if err != nil {
			return nil, err
		}
		return w.s, nil
	}
	a.mu.Lock()
	if a.err == nil && !a.feeding {
		a.feeding = true
		a.table.owned.Go(a.establish) // awaited by Table.Close
	}
	a.mu.Unlock()
	w, err := a.next(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	return w.s, nil
}

// AcceptStream waits for a stream and returns it. With LazyHandshake it is handed
// out on its SYN: Stream.Handshake answers it, Stream.Reject refuses it. When ctx
// ends first, the error matches the context's. Whoever also calls Accept may get
// streams that Accept had established.
func (a *Acceptor) AcceptStream(ctx context.Context) (*Stream, error) {
	w, err := a.next(ctx, a.queue)
	return w.s, err
}

// next takes a stream out of queue or, in a lazy acceptor, out of the established
// ones.
func (a *Acceptor) next(ctx context.Context, queue chan waiting) (waiting, error) {
	a.asked.Store(true)
	for {
		if err := a.ended(); err != nil {
			return waiting{}, a.opError(err)
		}
		var w waiting
		select {
		case w = <-queue:
		case w = <-a.ready:
		case <-ctx.Done():
			return waiting{}, a.opError(ctx.Err())
		case <-a.done:
			continue
		}
		a.places.Release(w.s.Source().Addr(), w.s.Destination())
		if w.r == nil || !w.r.failed() {
			return w, nil
		}
	}
}

// Streams returns a channel of the same streams as AcceptStream returns, for use
// in a select. It is the same channel at every call, and is closed when the
// acceptor ends.
func (a *Acceptor) Streams() <-chan *Stream {
	a.asked.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.streams == nil {
		a.streams = make(chan *Stream)
		if a.err != nil {
			close(a.streams)
		} else {
			a.table.owned.Go(a.feed) // awaited by Table.Close
		}
	}
	return a.streams
}

// feed is the one goroutine that sends on streams, and closes it.
func (a *Acceptor) feed() {
	defer close(a.streams)
	for {
		w, err := a.next(context.Background(), a.queue)
		if err != nil {
			return
		}
		select {
		case a.streams <- w.s:
		case <-a.done:
			a.drop(w)
			return
		}
	}
}

// Close ends accepting: calls that wait return net.ErrClosed, later SYNs are
// refused (RST), and streams that nobody has taken are reset. Streams that were
// taken live on. Further calls do nothing and return nil.
func (a *Acceptor) Close() error {
	a.table.forget(a)
	a.end(net.ErrClosed)
	return nil
}

// end ends the acceptor with err, which Accept returns from then on.
func (a *Acceptor) end(err error) {
	a.mu.Lock()
	if a.err != nil {
		a.mu.Unlock()
		return
	}
	a.err = err
	close(a.done)
	a.mu.Unlock()
	a.table.syns.giveUp(a)
	for { // nothing is added any more
		select {
		case w := <-a.queue:
			a.discard(w)
		case w := <-a.ready:
			a.discard(w)
		default:
			return
		}
	}
}

func (a *Acceptor) ended() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *Acceptor) opError(err error) error {
	return &net.OpError{Op: opAccept, Net: network, Addr: a.addr, Err: err}
}

// deliver puts w, which holds a place, into one of the queues; false if the
// acceptor has ended.
func (a *Acceptor) deliver(queue chan waiting, w waiting) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return false
	}
	queue <- w // never waits: there are as many places as room
	return true
}

// discard gives w's place back and ends its stream.
func (a *Acceptor) discard(w waiting) {
	a.places.Release(w.s.Source().Addr(), w.s.Destination())
	a.drop(w)
}

// drop resets a stream that nobody has accepted, because the acceptor has ended.
func (a *Acceptor) drop(w waiting) {
	if w.r == nil {
		a.table.env.Drops.Add(drop.AcceptorClosed) // a pending one is counted by its Reject
	}
	w.s.Kill(flow.Shutdown)
}

// complete answers r and queues its stream when it stands.
func (a *Acceptor) complete(r *request) {
	r.Answer(func(ep *netstack.Endpoint, err error) {
		if err != nil {
			a.places.Release(r.src.Addr(), r.dst)
			a.table.syns.streams.Release(r.src.Addr(), r.dst)
			return
		}
		s := a.table.newStream(ep, r)
		if !a.deliver(a.queue, waiting{s: s}) {
			a.discard(waiting{s: s})
		}
	})
}

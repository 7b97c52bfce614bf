package stack

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"l3extract/internal/budget"
	"l3extract/internal/netstack"
	"l3extract/tcp"
)

// tcpSide is what a Stack has of TCP beside the engine.
type tcpSide struct {
	stack    *Stack
	env      *tcp.Env
	table    *tcp.Table
	acceptor *tcp.Acceptor

	owned sync.WaitGroup // goroutines started by env.Go
	mu    sync.Mutex     // guards the start of one against the wait for all
	ended bool
}

// TIME-WAIT and FIN-WAIT-2. The engine swallows a SYN whose 4-tuple is still in
// TIME-WAIT, so it is short: the peer is mostly a kernel on the same machine.
const (
	finWait2   = 10 * time.Second
	maxRetries = 8 // some 100 s of silence; the default of 15 is a quarter of an hour
)

func (s *Stack) initTCP() {
	t := &s.tcp
	t.stack = s
	t.env = &tcp.Env{
		Flows: s.flows, Budget: s.budget, Drops: &s.drops,
		Link: congestion{s.link, s.budget}, Out: s.link,
		Clock: s.cfg.Clock, Rand: s.cfg.Rand, Logger: s.cfg.Logger, MTU: s.cfg.MTU,
		Flushers: tcp.NewFlushers(0), Closer: tcp.NewCloser(),
		Go:   t.spawn,
		Done: s.closing, Err: s.Err,
	}
	own := make([]netip.Addr, 0, len(s.cfg.Addrs))
	for _, p := range s.cfg.Addrs {
		own = append(own, p.Addr())
	}
	t.table = tcp.NewTable(tcp.TableConfig{
		Env: t.env, Config: &s.cfg.TCP, Engine: handshaker{s}, SourceKey: s.cfg.SourceKey, Own: own,
	})
	t.acceptor = t.table.Acceptor()
}

// spawn runs f in a goroutine that the end waits for. After the end f, which finds
// nothing to wait for any more, runs in the caller's.
func (t *tcpSide) spawn(f func()) {
	t.mu.Lock()
	ended := t.ended
	if !ended {
		t.owned.Go(f)
	}
	t.mu.Unlock()
	if ended {
		f()
	}
}

// newEngine builds the engines of a Stack that begins to run.
func (s *Stack) newEngine() (*netstack.Shards, error) {
	return netstack.NewShards(s.cfg.Shards, netstack.Config{
		Link: s.link, Handler: engineHandler{s}, Budget: s.budget,
		Congestion: s.cfg.TCP.Congestion.String(), RACK: s.cfg.TCP.Recovery == tcp.RACK,
		TimeWait: s.cfg.TCP.TimeWait, FinWait2: finWait2, MaxRetries: maxRetries,
		ReceiveBuffer: budget.StartSize, SendBuffer: budget.StartSize,
		Clock: s.clock(), Random: s.cfg.Rand,
	})
}

// clock is the configured clock, or nil for the engine's own: that one is cheaper.
func (s *Stack) clock() Clock {
	if _, system := s.cfg.Clock.(systemClock); system {
		return nil
	}
	return s.cfg.Clock
}

// handshaker is the engine as the SYN table knows it: the table is made before
// the engine is.
type handshaker struct{ *Stack }

// Answer implements tcp.Engine. The SYN came through the engine, so there is one.
func (h handshaker) Answer(syn *netstack.SYN, opt netstack.EndpointOptions, done func(*netstack.Endpoint, error)) func(error) {
	return h.engine.Load().Answer(syn, opt, done)
}

// startSides starts what TCP, UDP and ICMP need to run; it ends with ctx.
func (s *Stack) startSides(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return s.tcp.env.Flushers.Run(ctx) }) // writes small writes out
	g.Go(func() error { return s.tcp.env.Closer.Run(ctx) })   // keeps closed streams until they are done
	s.groups.Join()
	g.Go(func() error { s.icmp.run(ctx); return nil }) // hands ICMP errors to the engine
	g.Go(func() error { s.evict(ctx); return nil })    // ends flows when memory runs out
}

// stopSides ends every flow with the cause of the Stack's end and waits for the
// goroutines of streams and sockets.
func (s *Stack) stopSides() {
	cause := s.Err()
	s.tcp.table.Close(cause)
	for f := range s.flows.All() {
		f.Kill(cause)
	}
	s.udp.table.Close(cause)
	s.raw.Close(cause)
	s.icmp.acceptor.CloseCause(cause)
	s.groups.Leave()
	s.fragments.end()
	s.tcp.mu.Lock()
	s.tcp.ended = true
	s.tcp.mu.Unlock()
	s.tcp.owned.Wait()
}

// dial opens a stream from local to remote.
func (t *tcpSide) dial(ctx context.Context, engine *netstack.Shards, local, remote netip.AddrPort) (net.Conn, error) {
	size, ok := t.env.Budget.Start()
	if !ok {
		return nil, syscall.ENOBUFS
	}
	ep, err := engine.Dial(ctx, local, remote, netstack.EndpointOptions{ReceiveBuffer: size, SendBuffer: size})
	if err != nil {
		if end := t.stack.Err(); end != nil {
			err = end
		}
		return nil, err
	}
	stream := tcp.NewStream(t.env, &t.stack.cfg.TCP, ep, ep.Local(), remote, true)
	// The end of the Stack kills the flows that it finds, and it begins with its
	// cause: one of both sees the other.
	if end := t.stack.Err(); end != nil {
		stream.Kill(end)
		return nil, end
	}
	return stream, nil
}

// streams counts the TCP flows that live.
func (t *tcpSide) streams() int {
	n := 0
	for f := range t.stack.flows.All() {
		if _, ok := f.(*tcp.Stream); ok {
			n++
		}
	}
	return n
}

// drainPoll is how often Shutdown looks whether all streams have finished; it is
// http.Server's way, too, and costs nothing while nobody shuts down.
const drainPoll = 20 * time.Millisecond

// drained returns once no stream is open or closing, or ctx has ended, or the
// Stack has.
func (t *tcpSide) drained(ctx context.Context) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for t.streams() > 0 || t.env.Closer.Stats().Closing > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-t.stack.closing:
			return
		}
	}
}

package forward

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/internal/limit"
	"l3extract/stack"
	"l3extract/tcp"
)

// session is a Server at work on one stack.
type session struct {
	srv   *Server
	stack *stack.Stack
	stats *counters
	log   *slog.Logger
	own   map[netip.Addr]bool // the stack's addresses

	loop   *loop          // nil where there is none: two goroutines for a connection
	dialer *direct.Dialer // if it is the Dialer, so that loop can do its work; else nil

	judging, plain Dialer // with and without the Policy
	generic        bool   // the Dialer cannot be made to judge: both are the same
	packets        PacketListener
	pings          *pinger // nil: the Dialer knows no pings

	dialTimeout, idle, halfIdle time.Duration // 0: none
	sniffTime                   time.Duration
	dials                       places

	accepting, flows sync.WaitGroup
	upstreams        upstreams

	loopTold atomic.Int64 // when a loop was last told of, in Unix nanoseconds
	ports    ports

	lost atomic.Pointer[lostVia] // nil: EndVia was never called

	mu      sync.Mutex // a leaf
	live    map[ender]struct{}
	stopped bool // flows are ended as they come
}

// ender is what a session ends when it is told to stop.
type ender interface{ stop(cause error) }

// newSession fills in the defaults. From here on clients wait for serve.
func (f *Server) newSession(s *stack.Stack) *session {
	s.TCP()
	s.UDP()
	n := &session{
		srv: f, stack: s, stats: &f.stats, log: f.Logger,
		own:         make(map[netip.Addr]bool),
		dialTimeout: orDefault(f.DialTimeout, DefaultDialTimeout),
		idle:        orDefault(f.IdleTimeout, DefaultIdleTimeout),
		halfIdle:    orDefault(f.HalfCloseTimeout, DefaultHalfCloseTimeout),
		sniffTime:   sniffTime,
		live:        make(map[ender]struct{}),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.idle > 0 && (n.halfIdle == 0 || n.halfIdle > n.idle) {
		n.halfIdle = n.idle
	}
	n.dials.table = limit.New(f.dialLimits(), nil)
	for _, p := range s.Addrs() {
		n.own[p.Addr()] = true
	}
	n.setDialer()
	n.setPinger()
	return n
}

// newLoop starts the loop, unless that is not wanted.
func (n *session) newLoop() *loop {
	if n.srv.goroutines {
		return nil
	}
	return newLoop(n)
}

// orDefault resolves a field: 0 is def, negative is none, which is 0 here.
func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// judge applies the Policy to an address that is about to be used.
func (n *session) judge(a netip.Addr) error { return n.srv.Policy.judge(a, n.own) }

// serve is Server.Serve.
func (n *session) serve(ctx context.Context) error {
	defer n.srv.enlist(n)()
	if n.loop = n.newLoop(); n.loop != nil {
		defer n.loop.close() // when all flows have ended
	}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // so that flows end with a cause of ours
	defer cancel(nil)
	defer n.upstreams.close()
	n.accepting.Go(func() { n.acceptStreams(inner) })
	n.accepting.Go(func() { n.acceptSockets(inner) })
	if n.pings != nil {
		n.accepting.Go(func() { n.pings.run(inner) })
	}
	done := make(chan struct{})
	go func() { // tells the loop below that everything has ended; it awaits it
		defer close(done)
		n.accepting.Wait()
		n.flows.Wait()
	}()
	var tick <-chan time.Time
	if period := n.sweepPeriod(); period > 0 {
		t := time.NewTicker(period)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case now := <-tick:
			n.sweep(now)
		case <-done:
			return nil
		case <-ctx.Done():
			cancel(stack.Ended)
			n.stop(stack.Ended)
			<-done
			return context.Cause(ctx)
		}
	}
}

// acceptStreams takes streams until the acceptor or ctx ends.
func (n *session) acceptStreams(ctx context.Context) {
	for {
		st, err := n.stack.TCP().AcceptStream(ctx)
		if err != nil {
			return
		}
		n.stats.streams.Add(1)
		n.accepted(ctx, st)
	}
}

// accepted serves st, on a goroutine of its own if anything may have to be waited for, as
// may be for a Route, a Control and a name.
func (n *session) accepted(ctx context.Context, st *tcp.Stream) {
	f := flowOf(st)
	look := n.srv.Sniff != nil && n.srv.Sniff(f)
	if look || !n.routesAtOnce() {
		n.flows.Go(func() { n.stream(ctx, st, f, look) }) // as many as the stack's limits on streams allow
		return
	}
	t, err := n.route(ctx, f)
	if err != nil {
		n.refuse(st, err)
		return
	}
	if n.loop != nil {
		if d := n.loopDialer(&t); d != nil && d.Control == nil && t.Host == "" {
			n.serveStream(ctx, st, f, t)
			return
		}
	}
	n.flows.Go(func() { n.serveStream(ctx, st, f, t) }) // as above
}

// routesAtOnce tells whether route never waits.
func (n *session) routesAtOnce() bool { return n.srv.Route == nil || n.srv.RouteNeverWaits }

// acceptSockets takes sockets until the acceptor or ctx ends.
func (n *session) acceptSockets(ctx context.Context) {
	for {
		sock, err := n.stack.UDP().AcceptSocket(ctx)
		if err != nil {
			return
		}
		n.acceptedSocket(ctx, sock)
	}
}

// add makes f known to stop, which may have been called already.
func (n *session) add(f ender) {
	n.mu.Lock()
	n.live[f] = struct{}{}
	stopped := n.stopped
	n.mu.Unlock()
	if stopped {
		f.stop(stack.Ended)
	}
}

func (n *session) remove(f ender) {
	n.mu.Lock()
	delete(n.live, f)
	n.mu.Unlock()
}

// all returns the flows that live.
func (n *session) all() []ender {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]ender, 0, len(n.live))
	for f := range n.live {
		all = append(all, f)
	}
	return all
}

// stop ends all flows, and those that are still to come.
func (n *session) stop(cause error) {
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	for _, f := range n.all() {
		f.stop(cause)
	}
}

// route asks where f goes.
func (n *session) route(ctx context.Context, f outbound.Flow) (Target, error) {
	t := Target{Addr: f.Destination}
	if n.srv.Route != nil {
		var err error
		if t, err = n.srv.Route(ctx, f); err != nil {
			n.stats.unroutable.Add(1)
			return t, err
		}
	}
	if !t.Addr.IsValid() {
		t.Addr = f.Destination
	}
	if t.Host != "" {
		if a, err := netip.ParseAddr(t.Host); err == nil {
			t.Addr, t.Host = netip.AddrPortFrom(a, t.Addr.Port()), ""
		}
	}
	t.Addr = netip.AddrPortFrom(t.Addr.Addr().Unmap(), t.Addr.Port())
	return t, nil
}

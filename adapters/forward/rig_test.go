package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

var (
	clientAddrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24"), netip.MustParsePrefix("fd99::2/64")}
	serverAddrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd99::1/64")}

	lazy = tcp.Config{LazyHandshake: true}
)

// rig is a client behind a packet conn and a stack that a Server forwards.
type rig struct {
	t      testing.TB
	client *stack.Stack
	server *stack.Stack
	fwd    *Server
	work   *session
	cancel context.CancelCauseFunc // of Serve's context
	served <-chan error            // what Serve returned

	mu     sync.Mutex
	routes map[netip.AddrPort]netip.AddrPort // fronts of real listeners
	ended  []stack.Flow                      // the server's flows, as they ended
}

// goroutines has the Servers of rigs relay without a loop. Tests here do not run at
// once.
var goroutines bool

// eachWay runs a test with the loop and without it.
func eachWay(t *testing.T, test func(t *testing.T)) {
	defer func() { goroutines = false }()
	for _, goroutines = range []bool{false, true} {
		t.Run(map[bool]string{false: "loop", true: "goroutines"}[goroutines], test)
	}
}

// newRig runs srv for a stack configured by cfg.
func newRig(t testing.TB, srv *Server, cfg stack.Config) *rig {
	t.Helper()
	r := newIdleRig(t, srv, cfg)
	r.cancel, r.served = r.serve()
	return r
}

// newIdleRig is newRig whose Server has come no further than to its first step.
func newIdleRig(t testing.TB, srv *Server, cfg stack.Config) *rig {
	t.Helper()
	x, y := l3conn.Pipe(0, 0)
	return newIdleRigOn(t, x, y, srv, cfg)
}

// newRigOn is newRig on a pipe of the test's own.
func newRigOn(t testing.TB, x, y l3conn.Conn, srv *Server, cfg stack.Config) *rig {
	t.Helper()
	r := newIdleRigOn(t, x, y, srv, cfg)
	r.cancel, r.served = r.serve()
	return r
}

func newIdleRigOn(t testing.TB, x, y l3conn.Conn, srv *Server, cfg stack.Config) *rig {
	t.Helper()
	srv.goroutines = goroutines
	r := &rig{t: t, fwd: srv, routes: make(map[netip.AddrPort]netip.AddrPort)}
	if srv.Route == nil {
		srv.Route, srv.RouteNeverWaits = r.route, !goroutines
	}
	cfg.Addrs = serverAddrs
	cfg.Trace.Close = func(f stack.Flow) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = append(r.ended, f)
	}
	r.client = runStack(t, x, stack.Config{Addrs: clientAddrs})
	r.server = runStack(t, y, cfg)
	r.work = srv.newSession(r.server)
	return r
}

// serve does what Server.Serve does, until the test ends.
func (r *rig) serve() (context.CancelCauseFunc, <-chan error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	served := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		served <- r.work.serve(ctx)
	}()
	r.t.Cleanup(func() {
		cancel(nil)
		<-done
		if st := r.fwd.Stats(); st.Relays != 0 || st.Sockets != 0 || st.Dialing != 0 {
			r.t.Errorf("left over after Serve: %+v", st)
		}
	})
	return cancel, served
}

func runStack(t testing.TB, conn l3conn.Conn, cfg stack.Config) *stack.Stack {
	t.Helper()
	s, err := stack.New(conn, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done // the other end of the pipe may have been closed first: an error then
	})
	return s
}

// route leads fronts to what stands behind them, whatever the Policy says.
func (r *rig) route(_ context.Context, f outbound.Flow) (Target, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if real, ok := r.routes[f.Destination]; ok {
		return Target{Addr: real, Trusted: true}, nil
	}
	return Target{}, nil
}

// front gives real an address that a client can dial.
func (r *rig) front(addr string, real net.Addr) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ap, err := netip.ParseAddrPort(real.String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.routes[netip.MustParseAddrPort(addr)] = ap
	return addr
}

// listen returns a listener of the host behind addr.
func (r *rig) listen(addr string) *net.TCPListener {
	r.t.Helper()
	l := listenLoopback(r.t)
	r.front(addr, l.Addr())
	return l
}

func listenLoopback(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// dial dials from the client.
func (r *rig) dial(addr string) *tcp.Stream {
	r.t.Helper()
	c, err := r.client.DialContext(soon(r.t), "tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.(*tcp.Stream).Reset() })
	return c.(*tcp.Stream)
}

// joined dials addr and returns both ends.
func (r *rig) joined(addr string) (*tcp.Stream, *net.TCPConn) {
	r.t.Helper()
	l := r.listen(addr)
	c := r.dial(addr)
	_ = l.SetDeadline(time.Now().Add(patience))
	up, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = up.Close() })
	return c, up.(*net.TCPConn)
}

// causes waits until n flows of network have ended and returns their causes.
func (r *rig) causes(network string, n int) []error {
	r.t.Helper()
	var causes []error
	wait(r.t, "flows to end", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		causes = causes[:0]
		for _, f := range r.ended {
			if f.Network == network {
				causes = append(causes, f.Cause)
			}
		}
		return len(causes) >= n
	})
	return causes
}

// wantCause waits for the end of the one flow and compares its cause.
func (r *rig) wantCause(network string, want stack.Cause) {
	r.t.Helper()
	if got := r.causes(network, 1); len(got) != 1 || !errors.Is(got[0], want) {
		r.t.Errorf("flows ended with %v, want one with %q", got, want)
	}
}

// patience bounds what must happen, with room for a slow machine.
const patience = 10 * time.Second

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wait polls for what happens without telling anybody.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	for !ok() {
		select {
		case <-time.After(time.Millisecond):
		case <-end:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// dialFunc and packetFunc are Dialers and PacketListeners made of a function.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

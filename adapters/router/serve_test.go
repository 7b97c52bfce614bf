package router

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

const patience = 10 * time.Second

// rig is a client behind a packet conn, and a stack that a Server forwards by a Router.
type rig struct {
	t      *testing.T
	client *stack.Stack
	server *forward.Server

	mu     sync.Mutex
	causes []error // of the flows that ended
}

func newRig(t *testing.T, r *Router) *rig {
	t.Helper()
	x, y := l3conn.Pipe(0, 0)
	g := &rig{t: t, server: &forward.Server{Route: r.Route, RouteNeverWaits: true, Sniff: r.Sniff}}
	var all sync.WaitGroup
	run := func(conn l3conn.Conn, cfg stack.Config) *stack.Stack {
		s, err := stack.New(conn, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { _ = s.Run(context.Background()) }) // ends with s, below
		return s
	}
	g.client = run(x, stack.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")}})
	cfg := stack.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}, TCP: tcp.Config{LazyHandshake: true}}
	cfg.Trace.Close = func(f stack.Flow) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.causes = append(g.causes, f.Cause)
	}
	s := run(y, cfg)
	s.TCP()
	s.UDP()
	all.Go(func() { _ = g.server.Serve(context.Background(), s) }) // ends with s
	t.Cleanup(func() {
		_, _ = s.Close(), g.client.Close()
		all.Wait()
	})
	return g
}

func (g *rig) dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := g.client.DialContext(ctx, network, addr)
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		g.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// says expects c to be served by an outbound of this name.
func (g *rig) says(c net.Conn, err error, name string) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := c.Write([]byte("who?")); err != nil {
		g.t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != name {
		g.t.Errorf("%v is served by %q, %v, want %q", c.RemoteAddr(), b[:n], err, name)
	}
}

// host is a proxy whose every destination answers with its name.
type host struct {
	name string
	mu   sync.Mutex
	err  error
	all  []string // addresses it was asked for
}

func (h *host) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, address)
	if h.err != nil {
		return nil, h.err
	}
	near, far := net.Pipe()
	go func() { // ends with near
		b := make([]byte, 100)
		for {
			if _, err := far.Read(b); err != nil {
				_ = far.Close()
				return
			}
			if _, err := io.WriteString(far, h.name); err != nil {
				return
			}
		}
	}()
	return near, nil
}

func (h *host) HandlePacket(_ outbound.Flow, _ []byte, reply func([]byte)) { reply([]byte(h.name)) }

func (h *host) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[len(h.all)-1]
}

// TestServe: flows go by the rules, fake addresses by their names, flows that are open stay
// where they are when the rules change, and what a proxy cannot do another does.
func TestServe(t *testing.T) {
	a, b := &host{name: "a"}, &host{name: "b"}
	outbounds := []Outbound{{Name: "a", Dialer: a, Handler: a}, {Name: "b", Dialer: b, Handler: b}}
	names := namesFunc(func(_, dst netip.Addr) (string, bool, bool) {
		switch dst.String() {
		case "198.18.0.1":
			return "b.example", true, true
		case "198.18.0.2":
			return "", true, false
		}
		return "", false, false
	})
	r, err := New(&Config{
		Outbounds: outbounds, Default: "a", Names: names,
		Rules: []Rule{{Domains: []string{"b.example"}, Outbound: "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := newRig(t, r)
	one, err := g.dial("tcp", "203.0.113.1:80")
	g.says(one, err, "a")
	two, err := g.dial("tcp", "198.18.0.1:80")
	g.says(two, err, "b")
	if got := b.last(); got != "b.example:80" {
		t.Errorf("dialled %s, want the name", got)
	}
	three, err := g.dial("udp", "203.0.113.1:80")
	g.says(three, err, "a")
	if _, err := g.dial("tcp", "198.18.0.2:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a fake address without a name: %v, want ECONNREFUSED", err)
	}
	g.mu.Lock()
	if len(g.causes) != 1 || !errors.Is(g.causes[0], Unnamed) {
		t.Errorf("flows ended with %v, want one with %q", g.causes, Unnamed)
	}
	g.mu.Unlock()

	if err := r.Reload(&Config{Outbounds: outbounds, Default: "b"}); err != nil {
		t.Fatal(err)
	}
	g.says(one, nil, "a")
	g.says(three, nil, "a")
	four, err := g.dial("tcp", "203.0.113.1:80")
	g.says(four, err, "b")
	five, err := g.dial("udp", "203.0.113.1:80")
	g.says(five, err, "b")

	f, err := NewFailover(&FailoverConfig{Outbounds: outbounds, Probe: "example.com:443"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.Reload(&Config{Outbounds: []Outbound{{Name: "f", Dialer: f}}, Default: "f"}); err != nil {
		t.Fatal(err)
	}
	six, err := g.dial("tcp", "203.0.113.1:80")
	g.says(six, err, "a")
	a.mu.Lock()
	a.err = errDown
	a.mu.Unlock()
	seven, err := g.dial("tcp", "203.0.113.1:80")
	g.says(seven, err, "b")
	g.says(six, nil, "a")
}

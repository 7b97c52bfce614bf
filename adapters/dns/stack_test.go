package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/fakeip"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

// byName is a proxy: it takes connections to names, and each says what it was dialled as.
type byName struct {
	mu     sync.Mutex
	dialed []string
}

func (p *byName) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	p.dialed = append(p.dialed, address)
	p.mu.Unlock()
	near, far := net.Pipe()
	go func() { // ends when near is closed
		_, _ = io.WriteString(far, "you dialled "+address)
		far.Close()
	}()
	return near, nil
}

// TestThroughAStack: packets of a client in, names at the proxy out.
func TestThroughAStack(t *testing.T) {
	near, far := l3conn.Pipe(0, 0)
	client, err := stack.New(far, &stack.Config{
		Addrs:    []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")},
		Resolver: stack.DNS(netip.MustParseAddrPort("9.9.9.9:53")),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.New(near, &stack.Config{TCP: tcp.Config{LazyHandshake: true}})
	if err != nil {
		t.Fatal(err)
	}
	var records []string
	for i := range 100 { // too long for a datagram
		records = append(records, fmt.Sprintf("big.test. 60 IN A 192.0.2.%d", i))
	}
	nameless := netip.MustParseAddr("198.18.0.9")
	pool := newPool(t, &fakeip.Config{Reserved: []netip.Addr{nameless}})
	srv := newServer(t, &Config{Upstream: zone(records...), Fake: pool, Rules: []Rule{{Domains: []string{"test"}}}})
	proxy := new(byName)
	f := &forward.Server{Dialer: proxy, RouteNeverWaits: true, Route: func(_ context.Context, f outbound.Flow) (forward.Target, error) {
		if f.Destination.Port() == 53 {
			return forward.Target{Trusted: true, Dialer: srv, Handler: srv}, nil
		}
		name, fake, ok := srv.NameOf(f.Source.Addr(), f.Destination.Addr())
		if fake && !ok {
			return forward.Target{}, syscall.ECONNREFUSED
		}
		return forward.Target{Host: name, Dialer: proxy}, nil
	}}
	s.TCP()
	s.UDP()
	var g errgroup.Group // awaited below
	g.Go(func() error { return client.Run(context.Background()) })
	g.Go(func() error { return s.Run(context.Background()) })
	g.Go(func() error { return f.Serve(context.Background(), s) })
	defer func() {
		if err := errors.Join(client.Close(), s.Close(), g.Wait()); err != nil {
			t.Error(err)
		}
	}()
	for _, network := range []string{"tcp4", "tcp6"} {
		c, err := client.DialContext(t.Context(), network, "www.example:80")
		if err != nil {
			t.Fatal(network, err)
		}
		if said, err := io.ReadAll(c); string(said) != "you dialled www.example:80" {
			t.Errorf("%q, %v", said, err)
		}
		c.Close()
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return client.DialContext(ctx, network, "9.9.9.9:53")
	}}
	addrs, err := resolver.LookupNetIP(t.Context(), "ip4", "big.test.") // truncated, then over TCP
	if err != nil || len(addrs) != 100 || srv.Stats().Streamed == 0 {
		t.Errorf("%d addresses, %v, %+v", len(addrs), err, srv.Stats())
	}
	c, err := client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(addrs[7].Unmap(), 443).String()) // by the answer that was given
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(nameless, 80).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("an address without a name: %v", err)
	}
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	if want := []string{"www.example:80", "www.example:80", "big.test:443"}; !slices.Equal(proxy.dialed, want) {
		t.Errorf("dialled %q, want %q", proxy.dialed, want)
	}
}

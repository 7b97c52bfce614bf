package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// proxyTo is the Dialer of a proxy that dials one address whatever it is asked for.
type proxyTo struct {
	addr  string
	asked atomic.Pointer[string]
	flow  atomic.Pointer[outbound.Flow]
	wrap  func(net.Conn) net.Conn
}

func (p *proxyTo) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	f, _ := outbound.FlowFrom(ctx)
	p.asked.Store(&address)
	p.flow.Store(&f)
	var d net.Dialer
	c, err := d.DialContext(ctx, network, p.addr)
	if err == nil && p.wrap != nil {
		c = p.wrap(c)
	}
	return c, err
}

// TestOutboundDialers: streams go by their Target's Dialer, the loop takes the sockets
// over that are the kernel's, and dials itself for a direct.Dialer.
func TestOutboundDialers(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		l := listenLoopback(t)
		real := l.Addr().(*net.TCPAddr).AddrPort()
		proxy := &proxyTo{addr: real.String()}
		tunnel := &proxyTo{addr: real.String(), wrap: func(c net.Conn) net.Conn { return otherConn{c} }}
		refused := dialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED })
		srv := routes{
			"198.51.100.1:80": {Dialer: new(direct.Dialer), Addr: real, Trusted: true},
			"198.51.100.2:80": {Dialer: new(net.Dialer), Addr: real, Trusted: true},
			"198.51.100.3:80": {Dialer: proxy},
			"198.51.100.4:80": {Dialer: proxy, Host: "name.example"},
			"198.51.100.5:80": {Dialer: tunnel, Host: "203.0.113.5"},
			"198.51.100.6:80": {Dialer: &direct.Dialer{Timeout: time.Minute}, Addr: real, Trusted: true},
		}.server(atOnce, nil)
		srv.Dialer = refused
		r := newRig(t, srv, stack.Config{TCP: lazy})
		for _, tc := range []struct {
			dst, asked string
			pair       bool
			by         *proxyTo
		}{
			{"198.51.100.1:80", "", true, nil},
			{"198.51.100.2:80", "", true, nil},
			{"198.51.100.3:80", "198.51.100.3:80", true, proxy},
			{"198.51.100.4:80", "name.example:80", true, proxy},
			{"198.51.100.5:80", "203.0.113.5:80", false, tunnel},
			{"198.51.100.6:80", "", true, nil},
		} {
			c := r.dial(tc.dst)
			_ = l.SetDeadline(time.Now().Add(patience))
			up, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			echo(t, c, up)
			if tc.by != nil {
				if got := *tc.by.asked.Load(); got != tc.asked {
					t.Errorf("%s: dialled %s, want %s", tc.dst, got, tc.asked)
				}
				if f := tc.by.flow.Load(); f.Network != "tcp" || f.Destination.String() != tc.dst || !f.Source.IsValid() {
					t.Errorf("%s: the Dialer was told %+v", tc.dst, f)
				}
			}
			if polled {
				for _, e := range r.work.all() {
					if _, portable := e.(*relay); portable == tc.pair {
						t.Errorf("%s: served by a %T", tc.dst, e)
					}
				}
			}
			_ = c.Close()
			_ = up.Close()
			wait(t, "the flow to end", func() bool { return r.fwd.Stats().Relays == 0 })
		}
	})
}

// TestOutboundPolicy: the Policy holds for what this host dials, whichever Dialer it is
// that does, and for the addresses that a proxy is given.
func TestOutboundPolicy(t *testing.T) {
	v := newVictim(t)
	port := netip.AddrPortFrom(netip.IPv4Unspecified(), v.ports()[0])
	proxy := &proxyTo{addr: v.tcp[0].Addr().String()}
	for name, target := range map[string]Target{
		"net.Dialer":                {Dialer: new(net.Dialer), Host: "localhost", Addr: port},
		"direct.Dialer":             {Dialer: new(direct.Dialer), Host: "localhost", Addr: port},
		"direct.Dialer, an address": {Dialer: new(direct.Dialer), Host: "127.0.0.1", Addr: port},
		"a proxy, an address":       {Dialer: proxy, Host: "127.0.0.1", Addr: port},
		"a proxy, another":          {Dialer: proxy, Host: "169.254.169.254", Addr: port},
		"a proxy, a name":           {Dialer: proxy, Host: "LocalHost.", Addr: port},
	} {
		eachRoute(t, func(t *testing.T, atOnce bool) {
			srv := &Server{RouteNeverWaits: atOnce, Route: func(context.Context, outbound.Flow) (Target, error) { return target, nil }}
			r := newRig(t, srv, stack.Config{TCP: lazy})
			if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.EACCES) {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			r.wantCause("tcp", stack.Policy)
			if got := srv.Stats().PolicyStreams; got != 1 {
				t.Errorf("%s: %d streams refused, want 1", name, got)
			}
		})
	}
	v.untouched(t)
}

// TestObeying: outside of a Server, and for a trusted target, nothing is judged.
func TestObeying(t *testing.T) {
	d := &direct.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return fakeDNS(t, []string{"127.0.0.1"}), nil
	}}}
	if got := Obeying(t.Context(), d); got != Dialer(d) {
		t.Error("another Dialer without a Server")
	}
	l := listenLoopback(t)
	handed := dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		return Obeying(ctx, d).DialContext(ctx, network, address)
	})
	for _, trusted := range []bool{true, false} {
		r := newRig(t, &Server{Route: func(context.Context, outbound.Flow) (Target, error) {
			return Target{Dialer: handed, Host: "name.example", Addr: l.Addr().(*net.TCPAddr).AddrPort(), Trusted: trusted}, nil
		}}, stack.Config{TCP: lazy})
		_, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
		if (err == nil) != trusted {
			t.Errorf("trusted %v: %v", trusted, err)
		}
		if !trusted {
			r.wantCause("tcp", stack.Policy)
		}
	}
}

// TestOutboundErrors: what a proxy says of a destination is told as if it had been dialled
// from here.
func TestOutboundErrors(t *testing.T) {
	proxied := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("the proxy says: %w", err)}
	}
	for _, tc := range []struct {
		err   error
		want  error // nil: silence
		cause stack.Cause
	}{
		{syscall.ECONNREFUSED, syscall.ECONNREFUSED, stack.DialFailed},
		{syscall.EHOSTUNREACH, syscall.EHOSTUNREACH, stack.DialFailed},
		{syscall.ENETUNREACH, syscall.ENETUNREACH, stack.DialFailed},
		{syscall.EACCES, syscall.EHOSTUNREACH, stack.DialFailed}, // prohibited, which clients know as this
		{os.ErrDeadlineExceeded, nil, stack.DialFailed},
		{syscall.ETIMEDOUT, nil, stack.DialFailed},
		{outbound.ErrProxy, syscall.ECONNREFUSED, stack.DialFailed},
	} {
		eachRoute(t, func(t *testing.T, atOnce bool) {
			d := dialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, proxied(tc.err) })
			r := newRig(t, routes{"198.51.100.7:80": {Dialer: d}, "[2001:db8::7]:80": {Dialer: d}}.server(atOnce, nil), stack.Config{TCP: lazy})
			for i, dst := range []string{"198.51.100.7:80", "[2001:db8::7]:80"} {
				if tc.want != nil {
					if _, err := r.client.DialContext(soon(t), "tcp", dst); !errors.Is(err, tc.want) && !errors.Is(err, tc.err) {
						t.Errorf("%v: %v, want %v", tc.err, err, tc.want)
					}
				} else {
					ctx, cancel := context.WithCancel(t.Context())
					answer := make(chan error, 1)
					go func() {
						_, err := r.client.DialContext(ctx, "tcp", dst)
						answer <- err
					}()
					wait(t, "the dial to fail", func() bool { return r.fwd.Stats().DialsFailed > uint64(i) })
					cancel()
					if err := <-answer; !errors.Is(err, context.Canceled) {
						t.Errorf("%v: %v, want silence", tc.err, err)
					}
				}
			}
			for _, got := range r.causes("tcp", 2) {
				if !errors.Is(got, tc.cause) {
					t.Errorf("%v: cause %v, want %v", tc.err, got, tc.cause)
				}
			}
		})
	}
}

// TestProxyDies: a flow whose proxy goes is reset, with that cause, and so is one whose
// proxy resets it.
func TestProxyDies(t *testing.T) {
	for _, wrap := range []func(net.Conn) net.Conn{nil, func(c net.Conn) net.Conn { return otherConn{c} }} {
		l := listenLoopback(t)
		r := newRig(t, routes{"198.51.100.7:80": {Dialer: &proxyTo{addr: l.Addr().String(), wrap: wrap}}}.server(true, nil), stack.Config{TCP: lazy})
		c := r.dial("198.51.100.7:80")
		up, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, up)
		_ = up.(*net.TCPConn).SetLinger(0)
		_ = up.Close()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v, want ECONNRESET", err)
		}
		r.wantCause("tcp", stack.ResetByUpstream)
	}
}

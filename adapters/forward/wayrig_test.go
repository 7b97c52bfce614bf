package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/outbound"
)

// relayServer is an outbound for datagrams like a SOCKS5 server: it opens conns that
// take names, and what comes to them a test makes.
type relayServer struct {
	mu    sync.Mutex
	conns []*relayConn
	flows []outbound.Flow
}

func (p *relayServer) ListenPacket(ctx context.Context, network, _ string) (net.PacketConn, error) {
	f, ok := outbound.FlowFrom(ctx)
	if _, bounded := ctx.Deadline(); !ok || !bounded {
		return nil, errors.New("the context has no flow or no end")
	}
	c := &relayConn{network: network, in: make(chan packetFrom, 16), out: make(chan packetTo, 16), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns, p.flows = append(p.conns, c), append(p.flows, f)
	return c, nil
}

// conn returns the nth conn that was opened.
func (p *relayServer) conn(t *testing.T, n int) *relayConn {
	t.Helper()
	wait(t, "a socket to be opened", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.conns) > n })
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[n]
}

func (p *relayServer) opened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

type packetFrom struct {
	b    string
	addr net.Addr
	err  error
}

type packetTo struct {
	b    string
	addr net.Addr
}

type relayConn struct {
	network string
	in      chan packetFrom
	out     chan packetTo
	closed  chan struct{}
	once    sync.Once
}

func (c *relayConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case m := <-c.in:
		return copy(b, m.b), m.addr, m.err
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *relayConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	c.out <- packetTo{string(b), addr}
	return len(b), nil
}

func (c *relayConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *relayConn) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (c *relayConn) SetDeadline(time.Time) error      { return nil }
func (c *relayConn) SetReadDeadline(time.Time) error  { return nil }
func (c *relayConn) SetWriteDeadline(time.Time) error { return nil }

// got waits for a datagram to addr.
func (c *relayConn) got(t *testing.T, b, addr string) {
	t.Helper()
	select {
	case m := <-c.out:
		if m.b != b || m.addr.String() != addr {
			t.Errorf("the proxy was to send %q to %v, want %q to %s", m.b, m.addr, b, addr)
		}
	case <-time.After(patience):
		t.Fatalf("the proxy got nothing, want %q", b)
	}
}

func (c *relayConn) say(b, from string) {
	c.in <- packetFrom{b: b, addr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))}
}

// talker is a UDP socket of the client.
type talker struct {
	t  *testing.T
	pc net.PacketConn
}

func (r *rig) talker(t *testing.T, local string) *talker {
	t.Helper()
	pc, err := r.client.ListenPacket(soon(t), "udp", local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	_ = pc.SetDeadline(time.Now().Add(patience))
	return &talker{t, pc}
}

func (k *talker) say(b, to string) {
	k.t.Helper()
	if _, err := k.pc.WriteTo([]byte(b), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
		k.t.Fatal(err)
	}
}

func (k *talker) got(b, from string) {
	k.t.Helper()
	buf := make([]byte, 2000)
	n, addr, err := k.pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != b || addr.String() != from {
		k.t.Fatalf("got %q from %v, %v, want %q from %s", buf[:n], addr, err, b, from)
	}
}

// routes are Targets by destination; others go to the rig's own.
type routes map[string]Target

func (rs routes) server(atOnce bool, asked *atomic.Int64) *Server {
	return &Server{RouteNeverWaits: atOnce, Route: func(ctx context.Context, f outbound.Flow) (Target, error) {
		if _, bounded := ctx.Deadline(); bounded == atOnce {
			return Target{}, errors.New("a Route that may wait has a time-out, one that does not has none")
		}
		if asked != nil {
			asked.Add(1)
		}
		t, ok := rs[f.Destination.String()]
		if !ok {
			return Target{}, syscall.EHOSTUNREACH
		}
		return t, nil
	}}
}

// eachRoute runs a test with a Route that waits and one that does not.
func eachRoute(t *testing.T, test func(t *testing.T, atOnce bool)) {
	for _, atOnce := range []bool{true, false} {
		t.Run(fmt.Sprintf("atOnce=%v", atOnce), func(t *testing.T) { test(t, atOnce) })
	}
}

package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/stack"
)

// TestEndVia: flows whose upstream is reported end with their cause, others go on.
func TestEndVia(t *testing.T) { eachWay(t, endVia) }

func endVia(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	c, up := r.joined("198.51.100.1:80")
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := up.Read(make([]byte, 10)); n != 1 || err != nil { // so it is relayed
		t.Fatal(n, err)
	}
	var asked atomic.Int32
	never := func(local netip.Addr, index int) bool {
		if local != netip.MustParseAddr("127.0.0.1") || index != 0 {
			t.Errorf("asked about %v, %d", local, index)
		}
		asked.Add(1)
		return false
	}
	if n := r.fwd.EndVia(never); n != 0 || asked.Load() != 1 {
		t.Errorf("ended %d, asked %d times", n, asked.Load())
	}
	if _, err := c.Write([]byte("y")); err != nil {
		t.Error(err)
	}
	always := func(netip.Addr, int) bool { return true }
	if n := r.fwd.EndVia(always); n != 1 {
		t.Errorf("ended %d", n)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %v", err)
	}
	r.wantCause("tcp", stack.PathLost)
	wait(t, "the relay to end", func() bool { return r.fwd.Stats().Relays == 0 })
	if n := r.fwd.EndVia(always); n != 0 {
		t.Errorf("ended %d that are no more", n)
	}
}

// TestEndViaBound: a socket that is bound to an interface is told by its index, and a
// dial in flight fails.
func TestEndViaBound(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	d := &direct.Dialer{Interface: "lo"}
	for name, d := range map[string]Dialer{"direct": d, "other": dialFunc(d.DialContext)} { // the latter as a proxy's
		t.Run(name, func(t *testing.T) { endViaBound(t, d, lo.Index) })
	}
}

func endViaBound(t *testing.T, d Dialer, lo int) {
	r := newRig(t, &Server{Dialer: d}, stack.Config{TCP: lazy})
	r.joined("198.51.100.1:80")
	full := blackHole(t)
	r.front("198.51.100.2:80", full)
	failed := make(chan error, 1)
	go func() {
		_, err := r.client.DialContext(soon(t), "tcp", "198.51.100.2:80")
		failed <- err
	}()
	wait(t, "the flow and the dial to end", func() bool { // which has no socket yet at first
		r.fwd.EndVia(func(_ netip.Addr, index int) bool { return index == lo })
		return len(failed) == 1
	})
	if err := <-failed; !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("the dial failed with %v", err)
	}
	for _, got := range r.causes("tcp", 2) {
		if got != error(stack.PathLost) {
			t.Errorf("one ended with %v", got)
		}
	}
}

// blackHole returns the address of a listener whose queue is full, so that a dial of it
// waits.
func blackHole(t *testing.T) net.Addr {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*syscall.SockaddrInet4).Port}
	for range 2 { // a queue of none has room for one
		d := net.Dialer{Timeout: 100 * time.Millisecond}
		if c, err := d.Dial("tcp", addr.String()); err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return addr
}

// TestRebind: datagrams go on by a new socket when theirs has lost its way, and the
// client's Socket is the same.
func TestRebind(t *testing.T) {
	for name, srv := range map[string]*Server{"kernel": {}, "other": {PacketListener: new(otherListener)}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, srv, stack.Config{})
			server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Close() })
			const front = "198.51.100.1:53"
			r.front(front, server.LocalAddr())
			c, err := r.client.DialContext(soon(t), "udp", front)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			b := make([]byte, 100)
			ask := func() (from netip.AddrPort) {
				t.Helper()
				_ = server.SetReadDeadline(time.Now().Add(patience))
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, err := c.Write([]byte("?"))
				if err == nil {
					_, from, err = server.ReadFromUDPAddrPort(b)
				}
				if err == nil {
					_, err = server.WriteToUDPAddrPort([]byte("!"), from)
				}
				if err == nil {
					_, err = c.Read(b)
				}
				if err != nil {
					t.Fatal(err)
				}
				return from
			}
			first := ask()
			r.fwd.EndVia(func(netip.Addr, int) bool { return false })
			if again := ask(); again != first {
				t.Errorf("moved from %v to %v although nothing was lost", first, again)
			}
			if n := r.fwd.EndVia(func(netip.Addr, int) bool { return true }); n != 0 {
				t.Errorf("ended %d", n)
			}
			second := ask()
			if second == first {
				t.Error("still by the socket that has lost its way")
			}
			r.fwd.EndVia(func(netip.Addr, int) bool { return false })
			if again := ask(); again != second {
				t.Errorf("moved from %v to %v although nothing was lost", second, again)
			}
			if n := r.fwd.Stats().Sockets; n != 1 {
				t.Errorf("%d sockets", n)
			}
		})
	}
}

// lending is a proxy that lends sockets for as long as a connection to it lives.
type lending struct {
	relayServer
	at string
}

func (p *lending) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := new(direct.Dialer).DialContext(ctx, "tcp", p.at)
	if err != nil {
		return nil, err
	}
	pc, err := p.relayServer.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &lent{pc, c}, nil
}

type lent struct {
	net.PacketConn
	of net.Conn
}

func (l *lent) Close() error { return errors.Join(l.PacketConn.Close(), l.of.Close()) }

// TestRebindLent: a socket that a proxy lends has lost its way when the connection to the
// proxy has, whatever its own address is.
func TestRebindLent(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		p := &lending{at: listenLoopback(t).Addr().String()}
		r := newRig(t, routes{"198.51.100.1:1": {PacketListener: p}}.server(atOnce, nil), stack.Config{})
		k := r.talker(t, "10.9.0.2:4000")
		for n, lost := range []bool{false, true, true} {
			if n := r.fwd.EndVia(func(local netip.Addr, _ int) bool { return lost && local.IsLoopback() }); n != 0 {
				t.Errorf("ended %d", n)
			}
			k.say("hello", "198.51.100.1:1")
			p.conn(t, n).got(t, "hello", "198.51.100.1:1")
			k.say("again", "198.51.100.1:1")
			p.conn(t, n).got(t, "again", "198.51.100.1:1")
		}
	})
}

// TestCarriers: those that are closed are forgotten.
func TestCarriers(t *testing.T) {
	var s carriers
	l := listenLoopback(t)
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	s.add(raw)
	for range 10 * manyCarriers {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		s.add(raw)
		_ = c.Close()
	}
	if len(s.all) > manyCarriers || !s.lost(func(local netip.Addr, _ int) bool { return local.IsLoopback() }) {
		t.Errorf("%d are left, and the first is none of them", len(s.all))
	}
	_ = l.Close()
	if s.lost(func(netip.Addr, int) bool { return true }) {
		t.Error("all are closed, and one of them has lost its way")
	}
}

// TestRebindPings: pings go on by a new socket when theirs has lost its way.
func TestRebindPings(t *testing.T) {
	needPings(t)
	var opened atomic.Int32
	r := newRig(t, &Server{PingListener: pingListenFunc(func(network string) (net.PacketConn, error) {
		opened.Add(1)
		return new(direct.Dialer).ListenPing(t.Context(), network)
	})}, stack.Config{})
	const front = "198.51.100.7"
	r.front(front+":0", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	p := r.prober(t, false)
	for i, lost := range []bool{false, true, false} {
		r.fwd.EndVia(func(netip.Addr, int) bool { return lost })
		p.ping(front, uint16(i), "x")
		p.wantPong(front, uint16(i), "x")
	}
	if n := opened.Load(); n != 2 {
		t.Errorf("%d sockets were opened, want one, and another when that was lost", n)
	}
}

package socks5

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/forward"
	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

// client returns a stack whose packets are forwarded by way of d. Every destination
// stands for the host's loopback address with the same port.
func client(t *testing.T, d *Dialer) (*stack.Stack, *forward.Server) {
	srv := &forward.Server{Route: func(_ context.Context, f outbound.Flow) (forward.Target, error) {
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), f.Destination.Port())
		return forward.Target{Addr: addr, Trusted: true, Dialer: d}, nil
	}, RouteNeverWaits: true}
	ctx, cancel := context.WithCancel(context.Background())
	x, y := l3conn.Pipe(0, 0)
	var stacks [2]*stack.Stack
	ended := make(chan error, 3)
	for i, conn := range []l3conn.Conn{x, y} {
		s, err := stack.New(conn, &stack.Config{
			Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", i+1))},
			TCP:   tcp.Config{LazyHandshake: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		stacks[i] = s
		go func() { ended <- s.Run(context.Background()) }() // ends with Close; awaited below
	}
	go func() { ended <- srv.Serve(ctx, stacks[1]) }() // ends with ctx; awaited below
	t.Cleanup(func() {
		cancel()
		for _, s := range stacks {
			_ = s.Close()
		}
		for range cap(ended) {
			<-ended
		}
		_ = d.Close()
		if st := srv.Stats(); st.Relays != 0 || st.Sockets != 0 {
			t.Errorf("left over: %+v", st)
		}
	})
	return stacks[0], srv
}

// TestForward: what a client sees through the engine, a Server and a real proxy.
func TestForward(t *testing.T) {
	d := &Dialer{Address: realproxy.Dante(t, true), Username: realproxy.User, Password: realproxy.Password, Pool: 4}
	c, srv := client(t, d)
	front := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return "198.51.100.7:" + port
	}
	conn, err := c.DialContext(soon(t), "tcp", front(realproxy.Echo(t, "127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, conn)
	if n := srv.Stats().Relays; n != 1 {
		t.Errorf("%d relays", n)
	}
	_ = conn.Close()
	if _, err := c.DialContext(soon(t), "tcp", front(realproxy.Closed(t))); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v, want ECONNREFUSED", err)
	}
	pc, err := c.ListenPacket(soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(patience))
	for range 3 { // one association for all
		to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(front(realproxy.EchoUDP(t, "127.0.0.1:0"))))
		if _, err := pc.WriteTo([]byte("hello"), to); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, from, err := pc.ReadFrom(b)
		if err != nil || string(b[:n]) != "hello" || from.String() != to.String() {
			t.Fatalf("%q from %v, %v, want it from %v", b[:n], from, err, to)
		}
	}
	if n := d.Stats().Associations; n != 1 {
		t.Errorf("%d associations, want 1", n)
	}
}

// TestForwardMemory: a mapping that is silent holds no buffer.
func TestForwardMemory(t *testing.T) {
	const mappings = 200
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	port := udp.LocalAddr().(*net.UDPAddr).Port
	d := &Dialer{Address: serve(t, func(c *net.TCPConn) {
		associate := step{Want: []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, Answer: []byte{5, 0, 0, 1, 127, 0, 0, 1, byte(port >> 8), byte(port)}}
		if play(t, c, greeting, associate) {
			_, _ = c.Read(make([]byte, 1))
		}
	})}
	c, _ := client(t, d)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give back what they hold at the second
	runtime.ReadMemStats(&before)
	for range mappings {
		pc, err := c.ListenPacket(soon(t), "udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		if _, err := pc.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 9}); err != nil {
			t.Fatal(err)
		}
		_ = udp.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := udp.ReadFrom(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / mappings; runtime.GOOS == "linux" && each > 32<<10 {
		t.Errorf("%d bytes for each of %d mappings", each, mappings)
	} else {
		t.Logf("%d bytes for each of %d mappings, both stacks and the proxy included", each, mappings)
	}
}

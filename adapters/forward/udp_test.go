package forward

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/stack"
	"l3extract/udp"
)

// echoUDP starts a server behind addr that sends everything back, with the prefix
// of its name, until the test ends.
func (r *rig) echoUDP(addr, network, host string) *net.UDPConn {
	r.t.Helper()
	pc, err := net.ListenPacket(network, host)
	if err != nil {
		r.t.Skipf("no socket on %s here: %v", host, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	r.t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	r.front(addr, pc.LocalAddr())
	return pc.(*net.UDPConn)
}

// ask sends question to addr from a socket of its own and expects answer.
func (r *rig) ask(addr, question, answer string) {
	r.t.Helper()
	c, err := r.client.DialContext(soon(r.t), "udp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write([]byte(question)); err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 64<<10)
	if n, err := c.Read(b); err != nil || string(b[:n]) != answer {
		r.t.Fatalf("%s answered %q, %v", addr, b[:n], err)
	}
}

// otherPacketConn hides what kind of socket it is, as a proxy's does.
type otherPacketConn struct{ net.PacketConn }

type otherListener struct{ net.ListenConfig }

func (l *otherListener) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := l.ListenConfig.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return otherPacketConn{pc}, nil
}

// TestUDPEcho: datagrams of any size go there and back, and the answer comes from
// the address that was asked.
func TestUDPEcho(t *testing.T) {
	for _, mapping := range []udp.Mapping{udp.PerSource, udp.PerFlow} {
		for name, listener := range map[string]PacketListener{"socket": nil, "any conn": new(otherListener)} {
			t.Run(mapping.String()+" "+name, func(t *testing.T) {
				r := newRig(t, &Server{PacketListener: listener}, stack.Config{UDP: udp.Config{Mapping: mapping}})
				r.echoUDP("198.51.100.7:1053", "udp4", "127.0.0.1:0")
				r.ask("198.51.100.7:1053", "four", "four")
				big := string(bytes.Repeat([]byte("big "), 8000))
				r.ask("198.51.100.7:1053", big, big)
				r.ask("198.51.100.7:1053", "", "")
				r.echoUDP("[2001:db8::7]:1053", "udp6", "[::1]:0")
				r.ask("[2001:db8::7]:1053", "six", "six")
				// They are counted once they are sent: the answer may be faster.
				wait(t, "4 datagrams each way on 4 sockets", func() bool {
					st := r.fwd.Stats()
					return st.DatagramsOut == 4 && st.DatagramsIn == 4 && st.Sockets == 4
				})
			})
		}
	}
}

// TestOneUpstreamSocket: a client's socket talks to two servers from one address of
// the host's, each answers under the name that the client knows, and a third may
// write too.
func TestOneUpstreamSocket(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{})
	var seen sync.Map
	for _, addr := range []string{"198.51.100.7:1", "198.51.100.8:2"} {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pc.Close() })
		r.front(addr, pc.LocalAddr())
		go func() { // ends with pc, or with its one datagram
			b := make([]byte, 100)
			if n, from, err := pc.ReadFrom(b); err == nil {
				seen.Store(addr, from.String())
				_, _ = pc.WriteTo(b[:n], from)
			}
		}()
	}
	pc, err := r.client.ListenPacket(soon(t), "udp", "10.9.0.2:4000")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(patience))
	for _, addr := range []string{"198.51.100.7:1", "198.51.100.8:2"} {
		to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if _, err := pc.WriteTo([]byte(addr), to); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, from, err := pc.ReadFrom(b)
		if err != nil || from.String() != addr || string(b[:n]) != addr {
			t.Fatalf("got %q from %v, %v, want the echo of %s", b[:n], from, err, addr)
		}
	}
	one, _ := seen.Load("198.51.100.7:1")
	two, _ := seen.Load("198.51.100.8:2")
	if one != two {
		t.Errorf("the servers saw %v and %v, want one address", one, two)
	}
	if got := r.fwd.Stats().Sockets; got != 1 {
		t.Errorf("%d sockets, want 1", got)
	}
	// A stranger on the host's loopback must not reach the client.
	stranger, err := net.Dial("udp4", one.(string))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write([]byte("knock")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the stranger to be refused", func() bool { return r.fwd.Stats().PolicyDatagrams == 1 })
}

// TestUDPIdle: the upstream socket ends with the Socket.
func TestUDPIdle(t *testing.T) {
	closed := make(chan struct{})
	srv := &Server{PacketListener: listenFunc(func(ctx context.Context, network, address string) (net.PacketConn, error) {
		var lc net.ListenConfig
		pc, err := lc.ListenPacket(ctx, network, address)
		return &notedClose{PacketConn: pc, closed: closed}, err
	})}
	r := newRig(t, srv, stack.Config{UDP: udp.Config{IdleTimeout: 20 * time.Millisecond}})
	r.echoUDP("198.51.100.7:1053", "udp4", "127.0.0.1:0")
	r.ask("198.51.100.7:1053", "x", "x")
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("the upstream socket stays open")
	}
	r.wantCause("udp", stack.Idle)
	wait(t, "the socket to go", func() bool { return srv.Stats().Sockets == 0 })
}

type notedClose struct {
	net.PacketConn
	once   sync.Once
	closed chan struct{}
}

func (c *notedClose) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.PacketConn.Close()
}

type listenFunc func(ctx context.Context, network, address string) (net.PacketConn, error)

func (f listenFunc) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return f(ctx, network, address)
}

// TestUDPErrors: what a client is told when its datagram goes nowhere.
func TestUDPErrors(t *testing.T) {
	failing := func(err error) PacketListener {
		return listenFunc(func(context.Context, string, string) (net.PacketConn, error) { return nil, err })
	}
	onlyTCP := dialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED })
	route := func(err error, t Target) func(context.Context, outbound.Flow) (Target, error) {
		return func(context.Context, outbound.Flow) (Target, error) { return t, err }
	}
	deaf := &direct.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, syscall.ECONNREFUSED
	}}}
	for _, tc := range []struct {
		name    string
		srv     *Server
		mapping udp.Mapping
		want    error
		cause   stack.Cause
	}{
		{"no family", &Server{PacketListener: failing(syscall.EAFNOSUPPORT)}, 0, syscall.ENETUNREACH, stack.DialFailed},
		{"no sockets left", &Server{PacketListener: failing(syscall.EMFILE)}, 0, syscall.ECONNREFUSED, stack.DialFailed},
		{"no way but TCP", &Server{Dialer: onlyTCP}, 0, syscall.EACCES, stack.Policy},
		{"no route", &Server{Route: route(syscall.EHOSTUNREACH, Target{})}, 0, syscall.EHOSTUNREACH, stack.DialFailed},
		{"a name that nobody knows", &Server{Route: route(nil, Target{Host: "name.invalid", Dialer: deaf})}, 0, syscall.EHOSTUNREACH, stack.DialFailed},
		{"a way that carries none", &Server{Route: route(nil, Target{Dialer: onlyTCP})}, 0, syscall.EACCES, stack.Policy},
		{"one that cannot be compared", &Server{Route: route(nil, Target{PacketListener: failing(nil)})}, 0, syscall.EACCES, stack.Policy},
		{"a proxy that refuses", &Server{Route: route(nil, Target{PacketListener: &notListener{syscall.ENETUNREACH}})}, 0, syscall.ENETUNREACH, stack.DialFailed},
		{"a name of loopback", &Server{Route: route(nil, Target{Host: "LOCALHOST.", PacketListener: &notListener{}})}, 0, syscall.EACCES, stack.Policy},
		{"PerDestination", &Server{}, udp.PerDestination, syscall.ECONNREFUSED, stack.DialFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.srv, stack.Config{UDP: udp.Config{Mapping: tc.mapping}})
			c, err := r.client.DialContext(soon(t), "udp", "198.51.100.7:1053")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, tc.want) {
				t.Errorf("read: %v, want %v", err, tc.want)
			}
			r.wantCause("udp", tc.cause)
		})
	}
}

// notListener opens no sockets.
type notListener struct{ err error }

func (l *notListener) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, l.err
}

// TestRefusedAmongOthers: a forbidden destination does not end a Socket that others
// use.
func TestRefusedAmongOthers(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{})
	r.echoUDP("198.51.100.7:1", "udp4", "127.0.0.1:0")
	pc, err := r.client.ListenPacket(soon(t), "udp", "10.9.0.2:4000")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(patience))
	good := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.7:1"))
	bad := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("169.254.169.254:80"))
	b := make([]byte, 10)
	for i := range 3 {
		if _, err := pc.WriteTo([]byte("x"), good); err != nil {
			t.Fatal(err)
		}
		if _, from, err := pc.ReadFrom(b); err != nil || from.String() != good.String() {
			t.Fatalf("got an answer from %v, %v", from, err)
		}
		if _, err := pc.WriteTo([]byte("x"), bad); err != nil {
			t.Fatal(err)
		}
		wait(t, "the datagram to be refused", func() bool { return r.fwd.Stats().PolicyDatagrams == uint64(i+1) })
	}
	if got := r.server.Stats().UDP; r.fwd.Stats().Sockets != 1 {
		t.Errorf("%d sockets, want the first one only; %+v", r.fwd.Stats().Sockets, got)
	}
}

// TestNames: a Socket remembers so many names and forgets any when there are more.
func TestNames(t *testing.T) {
	var s socket
	at := func(port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	}
	dst := netip.MustParseAddrPort("198.51.100.7:53")
	for i := range 2 * maxNames {
		s.name(at(i+1), dst)
	}
	if len(s.names) != maxNames {
		t.Errorf("%d names, want %d", len(s.names), maxNames)
	}
	last := at(2 * maxNames)
	if got, ok := s.called(nil, origin{addr: last}); !ok || got != dst {
		t.Errorf("called %v, %v", got, ok)
	}
	s.name(last, last)
	if got, ok := s.called(nil, origin{addr: last}); ok || got != last {
		t.Errorf("called %v, %v after it became its own name", got, ok)
	}
}

// TestBrokenOutlet: an upstream socket that fails for ever ends its Socket, one
// that hears of an ICMP error does not.
func TestBrokenOutlet(t *testing.T) {
	var reads int
	srv := &Server{PacketListener: listenFunc(func(ctx context.Context, network, address string) (net.PacketConn, error) {
		var lc net.ListenConfig
		pc, err := lc.ListenPacket(ctx, network, address)
		return &failingReads{PacketConn: pc, reads: &reads}, err
	})}
	r := newRig(t, srv, stack.Config{})
	r.echoUDP("198.51.100.7:1", "udp4", "127.0.0.1:0")
	c, err := r.client.DialContext(soon(t), "udp", "198.51.100.7:1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	r.wantCause("udp", stack.ResetByUpstream)
	wait(t, "the socket to go", func() bool { return srv.Stats().Sockets == 0 })
	if reads != maxFailures {
		t.Errorf("%d reads, want %d", reads, maxFailures)
	}
}

type failingReads struct {
	net.PacketConn
	reads *int
}

func (c *failingReads) ReadFrom([]byte) (int, net.Addr, error) {
	*c.reads++
	return 0, nil, os.NewSyscallError("recvfrom", syscall.ECONNREFUSED)
}

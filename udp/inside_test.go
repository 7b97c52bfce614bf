package udp

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
)

func TestListen(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		all := netip.IPv6Unspecified()
		if f.own.Is4() {
			all = netip.IPv4Unspecified()
		}
		at := netip.AddrPortFrom(f.own, 53)
		for _, local := range []netip.AddrPort{
			at, netip.AddrPortFrom(all, 53), netip.AddrPortFrom(netip.Addr{}, 53),
		} {
			r := newRig(t, Config{}) // PerSource, which does not matter here
			s, err := r.Listen(local)
			if err != nil {
				t.Fatal(err)
			}
			if s.LocalAddr().(*net.UDPAddr).Port != 53 || s.RemoteAddr() != nil || s.Source().IsValid() ||
				s.Destination() != local || s.Mapping() != PerDestination {
				t.Errorf("LocalAddr %v, RemoteAddr %v, Source %v, Destination %v",
					s.LocalAddr(), s.RemoteAddr(), s.Source(), s.Destination())
			}
			b := make([]byte, 99)
			for _, client := range []netip.AddrPort{f.client, f.stranger} {
				r.receive(client, at, "query")
				n, from, err := s.ReadFromUDPAddrPort(b)
				if err != nil || from != client {
					t.Fatalf("read from %v, %v", from, err)
				}
				if _, err := s.WriteToUDPAddrPort(b[:n], from); err != nil {
					t.Fatal(err)
				}
				r.wantSent(at, client, "query")
			}
			// Another port, and another address, are the acceptor's.
			r.opened(f.client, netip.AddrPortFrom(f.own, 54))
			r.receive(f.client, netip.AddrPortFrom(f.server.Addr(), 53), "x")
			if got := r.Stats(); got.Own != 1 || got.Sockets != 1 || got.Waiting != 0 || s.Info().Queued != 0 {
				t.Errorf("%+v, %d queued", got, s.Info().Queued)
			}
			if err := s.Reject(nil); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("Reject = %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			r.opened(f.other, at)
		}
	})
}

func TestListenConflicts(t *testing.T) {
	none := netip.Addr{}
	four, six := families[0].own, families[1].own
	all4, all6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	for _, tc := range []struct {
		a, b netip.Addr
		ok   bool
	}{
		{four, four, false}, {four, all4, false}, {four, none, false},
		{all4, four, false}, {all4, all6, true}, {four, six, true},
		{none, six, false}, {all6, none, false}, {four, all6, true},
	} {
		r := newRig(t, Config{})
		first, err := r.Listen(netip.AddrPortFrom(tc.a, 9))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Listen(netip.AddrPortFrom(tc.b, 9))
		if (err == nil) != tc.ok || !tc.ok && !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v, then %v: %v", tc.a, tc.b, err)
		}
		if _, err := r.Listen(netip.AddrPortFrom(tc.b, 10)); err != nil {
			t.Errorf("another port: %v", err)
		}
		first.Close()
		if tc.ok {
			continue
		}
		if _, err := r.Listen(netip.AddrPortFrom(tc.b, 9)); err != nil {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestListenRefused(t *testing.T) {
	only4 := func(e *Env) { e.Addrs = e.Addrs[:1] }
	for _, tc := range []struct {
		local string
		text  string
	}{
		{"192.0.2.9:1", ""},
		{"[fd00::1]:1", ""},
		{"[::]:1", "no IPv6 address in stack.Config.Addrs"},
	} {
		r := newRig(t, Config{}, only4)
		_, err := r.Listen(ap(tc.local))
		var op *net.OpError
		if !errors.Is(err, syscall.EADDRNOTAVAIL) || !errors.As(err, &op) || op.Op != "listen" ||
			!strings.Contains(err.Error(), tc.text) {
			t.Errorf("Listen(%s) = %v", tc.local, err)
		}
	}
}

func TestDial(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		client, server := pair(t, Config{}, Config{Mapping: PerFlow})
		c, err := client.dial(netip.AddrPort{}, f.server)
		if err != nil {
			t.Fatal(err)
		}
		var (
			_ net.Conn       = c
			_ net.PacketConn = c // or net.Resolver takes it for TCP
		)
		local := c.LocalAddr().(*net.UDPAddr).AddrPort()
		if local.Addr() != f.client.Addr() || local.Port() < firstPort {
			t.Errorf("LocalAddr %v", local)
		}
		wantAddr(t, "RemoteAddr", c.RemoteAddr(), f.server)
		if s := c.Socket(); s.Source() != local || s.Destination() != f.server || !s.Info().Dialed {
			t.Errorf("Source %v, Destination %v", s.Source(), s.Destination())
		}
		if n, err := c.Write([]byte("ping")); n != 4 || err != nil {
			t.Fatal(err)
		}
		s := server.accept()
		view, _ := s.Conn()
		wantAddr(t, "the server's RemoteAddr", view.RemoteAddr(), local)
		b := make([]byte, 99)
		if n, err := view.Read(b); err != nil || string(b[:n]) != "ping" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		if _, err := view.Write([]byte("pong")); err != nil {
			t.Fatal(err)
		}
		n, from, err := c.ReadFrom(b)
		if err != nil || string(b[:n]) != "pong" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		wantAddr(t, "ReadFrom's addr", from, f.server)
		if _, err := c.WriteTo(b, from); !errors.Is(err, net.ErrWriteToConnected) {
			t.Errorf("WriteTo = %v", err)
		}
		// Nobody but the other end is heard: a stranger is a client like any other.
		client.receive(f.server2, local, "forged")
		if got := c.Socket().Info().Queued; got != 0 {
			t.Errorf("%d datagrams from a stranger", got)
		}
	})
}

func TestDialRefused(t *testing.T) {
	r := newRig(t, Config{}, func(e *Env) { e.Addrs = e.Addrs[:1] })
	if _, err := r.Dial(ap("10.0.0.1:99"), ap("192.0.2.1:1")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		local  netip.AddrPort
		remote string
		want   error
		text   string
	}{
		{netip.AddrPort{}, "192.0.2.1:0", syscall.EDESTADDRREQ, ""},
		{netip.AddrPort{}, "0.0.0.0:1", syscall.EDESTADDRREQ, ""},
		{netip.AddrPort{}, "127.0.0.1:1", syscall.ENETUNREACH, ""},
		{netip.AddrPort{}, "[::ffff:127.0.0.1]:1", syscall.ENETUNREACH, ""},
		{netip.AddrPort{}, "[2001:db8::1]:1", syscall.EADDRNOTAVAIL, "no IPv6 address in stack.Config.Addrs"},
		{ap("192.0.2.7:0"), "192.0.2.1:1", syscall.EADDRNOTAVAIL, ""},
		{ap("10.0.0.1:0"), "[2001:db8::1]:1", syscall.EAFNOSUPPORT, ""},
		{ap("10.0.0.1:99"), "192.0.2.2:1", syscall.EADDRINUSE, ""},
	} {
		_, err := r.Dial(tc.local, ap(tc.remote))
		var op *net.OpError
		if !errors.Is(err, tc.want) || !errors.As(err, &op) || op.Op != "dial" || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("Dial(%v, %v) = %v, want %v", tc.local, tc.remote, err, tc.want)
		}
	}
}

// All ports can be used, none twice, and then there is a clear end.
func TestPortsRunOut(t *testing.T) {
	r := newRig(t, Config{})
	seen := map[uint16]bool{}
	const n = 1<<16 - firstPort
	for range n {
		c, err := r.Dial(netip.AddrPort{}, families[0].server)
		if err != nil {
			t.Fatalf("after %d: %v", len(seen), err)
		}
		port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if seen[port] || port < firstPort {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
	}
	if _, err := r.Dial(netip.AddrPort{}, families[0].server); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("one more: %v", err)
	}
}

// An answer that comes after its asker has gone is no new client.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[0]
		r := newRig(t, Config{})
		c, err := r.dial(netip.AddrPort{}, f.server)
		if err != nil {
			t.Fatal(err)
		}
		local := c.LocalAddr().(*net.UDPAddr).AddrPort()
		c.Close()
		r.receive(f.server, local, "late")
		if got := r.Stats().Sockets; got != 0 {
			t.Errorf("%d Sockets", got)
		}
		r.wantDrops(drop.UDPClosed, 1)
		// The same ends again are served, and a minute later all is forgotten.
		if c, err = r.dial(local, f.server); err != nil {
			t.Fatal(err)
		}
		r.receive(f.server, local, "new")
		if _, err := c.Read(make([]byte, 3)); err != nil {
			t.Error(err)
		}
		c.Close()
		time.Sleep(2 * time.Minute)
		r.opened(f.server, local)
	})
}

// Own addresses are reached inside the stack; nothing leaves through the conn.
func TestOwnAddress(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{})
		at := netip.AddrPortFrom(f.own, 7)
		c, err := r.dial(netip.AddrPort{}, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		r.wantDrops(drop.OwnAddressUnreachable, 1)
		s, err := r.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("ask")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 9)
		n, from, err := s.ReadFromUDPAddrPort(b)
		if err != nil || from != c.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Fatalf("from %v, %v", from, err)
		}
		if _, err := s.WriteToUDPAddrPort(b[:n], from); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err != nil || string(b[:n]) != "ask" {
			t.Errorf("%q, %v", b[:n], err)
		}
		if n := len(r.out.take()); n != 0 {
			t.Errorf("%d packets left", n)
		}
	})
}

// A Socket on all addresses answers from the one that was asked, with WriteMsg.
func TestListenAllAnswers(t *testing.T) {
	second := netip.MustParseAddr("10.0.0.9")
	r := newRig(t, Config{}, func(e *Env) { e.Addrs = append(e.Addrs, second) })
	s, err := r.Listen(netip.AddrPortFrom(netip.Addr{}, 53))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []netip.Addr{families[0].own, second, families[1].own} {
		client := families[0].client
		if at.Is6() {
			client = families[1].client
		}
		r.receive(client, netip.AddrPortFrom(at, 53), "q")
		m, err := s.ReadMsg(make([]byte, 9))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.WriteMsg(m.Reply([]byte("a"))); err != nil {
			t.Fatal(err)
		}
		r.wantSent(netip.AddrPortFrom(at, 53), client, "a")
	}
	_, err = s.WriteMsg(Msg{Source: families[0].server, Destination: families[0].client})
	if !errors.Is(err, syscall.EACCES) {
		t.Errorf("from an address that is not ours: %v", err)
	}
}

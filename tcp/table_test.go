package tcp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"l3extract/internal/drop"
)

func own(addrs ...string) func(*TableConfig) {
	return func(c *TableConfig) {
		for _, a := range addrs {
			c.Own = append(c.Own, netip.MustParseAddr(a))
		}
	}
}

func TestListenerWins(t *testing.T) {
	const a, b, six = "192.0.2.1", "192.0.2.2", "2001:db8:1::1"
	for _, tc := range []struct {
		listen string // ":80" is both families
		own    []string
		dst    string
		wins   bool
	}{
		{"192.0.2.1:80", []string{a, b}, "192.0.2.1:80", true},
		{"192.0.2.1:80", []string{a, b}, "192.0.2.1:81", false},
		{"192.0.2.1:80", []string{a, b}, "192.0.2.2:80", false},
		{"0.0.0.0:80", []string{a, b}, "192.0.2.2:80", true},
		{"0.0.0.0:80", []string{a, b}, "198.51.100.1:80", false},
		{"0.0.0.0:80", []string{a, six}, "[2001:db8:1::1]:80", false},
		{"[::]:80", []string{a, six}, "[2001:db8:1::1]:80", true},
		{"[::]:80", []string{a, six}, "192.0.2.1:80", false},
		{":80", []string{a, six}, "192.0.2.1:80", true},
		{":80", []string{a, six}, "[2001:db8:1::1]:80", true},
		{":80", nil, "198.51.100.1:80", true},
		{"198.51.100.1:80", nil, "198.51.100.1:80", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newSYNRig(t, Config{}, own(tc.own...)).establishing()
			r.listen()
			addr := netip.AddrPortFrom(netip.Addr{}, 80)
			if tc.listen != ":80" {
				addr = netip.MustParseAddrPort(tc.listen)
			}
			l, err := r.table.Listen(addr)
			if err != nil {
				t.Fatal(err)
			}
			dst := netip.MustParseAddrPort(tc.dst)
			src := clientA
			if dst.Addr().Is6() {
				src = client6
			}
			r.table.HandleSYN(syn(src, dst, 1))
			synctest.Wait()
			if got := len(l.queue) == 1; got != tc.wins {
				t.Errorf("%s takes %s: %v, want %v", tc.listen, tc.dst, got, tc.wins)
			}
			if len(l.queue)+len(r.table.Acceptor().queue) != 1 {
				t.Error("nobody took it")
			}
			r.table.Close(nil)
		})
	}
}

func TestTheVeryAddressWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{}, own("192.0.2.1", "192.0.2.2")).establishing()
		l, err := r.table.Listen(netip.MustParseAddrPort("192.0.2.1:80"))
		if err != nil {
			t.Fatal(err)
		}
		// The conflict is about overlap, so only another address can be open too.
		other, err := r.table.Listen(netip.MustParseAddrPort("192.0.2.2:80"))
		if err != nil {
			t.Fatal(err)
		}
		r.table.HandleSYN(syn(clientA, server, 1))
		synctest.Wait()
		if len(l.queue) != 1 || len(other.queue) != 0 {
			t.Errorf("%d, %d", len(l.queue), len(other.queue))
		}
		r.table.Close(nil)
	})
}

func TestListenConflicts(t *testing.T) {
	for _, tc := range []struct {
		first, second string
		want          error
	}{
		{"192.0.2.1:80", "192.0.2.1:80", syscall.EADDRINUSE},
		{"192.0.2.1:80", "0.0.0.0:80", syscall.EADDRINUSE},
		{"0.0.0.0:80", "192.0.2.1:80", syscall.EADDRINUSE},
		{":80", "192.0.2.1:80", syscall.EADDRINUSE},
		{":80", "[::]:80", syscall.EADDRINUSE},
		{"[::]:80", ":80", syscall.EADDRINUSE},
		{":80", ":80", syscall.EADDRINUSE},
		{"[::]:80", "0.0.0.0:80", nil},
		{"192.0.2.1:80", "192.0.2.1:81", nil},
		{"192.0.2.1:80", "192.0.2.2:80", nil},
		{"192.0.2.1:80", "[::]:80", nil},
		{"192.0.2.1:80", "192.0.2.9:80", syscall.EADDRNOTAVAIL},
		{"192.0.2.1:80", "[::ffff:192.0.2.1]:80", syscall.EADDRINUSE},
	} {
		r := newSYNRig(t, Config{}, own("192.0.2.1", "192.0.2.2"))
		parse := func(s string) netip.AddrPort {
			if s == ":80" {
				return netip.AddrPortFrom(netip.Addr{}, 80)
			}
			return netip.MustParseAddrPort(s)
		}
		first, err := r.table.Listen(parse(tc.first))
		if err != nil {
			t.Fatalf("%s: %v", tc.first, err)
		}
		_, err = r.table.Listen(parse(tc.second))
		if tc.want == nil && err != nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s, then %s: %v, want %v", tc.first, tc.second, err, tc.want)
		}
		var op *net.OpError
		if err != nil && (!errors.As(err, &op) || op.Op != "listen" || op.Addr == nil) {
			t.Errorf("not a listen error: %#v", err)
		}
		if errors.Is(tc.want, syscall.EADDRINUSE) {
			_ = first.Close()
			if _, err := r.table.Listen(parse(tc.second)); err != nil {
				t.Errorf("the port is not free after Close: %v", err)
			}
		}
	}
}

func TestListenChoosesAPort(t *testing.T) {
	r := newSYNRig(t, Config{}, own("192.0.2.1"))
	seen := make(map[string]bool)
	for range 20 {
		l, err := r.table.Listen(netip.MustParseAddrPort("192.0.2.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.MustParseAddrPort(l.Addr().String())
		if addr.Addr() != server.Addr() || addr.Port() < firstFreePort || seen[l.Addr().String()] {
			t.Errorf("chose %v", addr)
		}
		seen[l.Addr().String()] = true
	}
	if n := r.table.Stats().Listeners; n != 20 {
		t.Errorf("%d listeners", n)
	}
	r.table.StopAccepting()
	if n := r.table.Stats().Listeners; n != 0 {
		t.Errorf("%d listeners after StopAccepting", n)
	}
}

func TestListenerIsOpenBeforeAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true}).establishing()
		l, err := r.table.Listen(server)
		if err != nil {
			t.Fatal(err)
		}
		r.table.HandleSYN(syn(clientA, server, 1))
		synctest.Wait()
		c, err := l.Accept() // established, although the Config says lazy
		if err != nil || c.RemoteAddr().String() != clientA.String() {
			t.Fatalf("%v, %v", c, err)
		}
		if n := len(r.engine.answered()); n != 1 {
			t.Errorf("%d answered", n)
		}
		_ = l.Close()
		if r.table.HandleSYN(syn(clientB, server, 1)) {
			t.Error("taken after Close")
		}
		r.counted(drop.AcceptorClosed, 0)
		r.table.Close(nil)
	})
}

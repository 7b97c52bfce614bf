package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// listenAny opens a TCP listener or a UDP socket.
func listenAny(s *Stack, network, address string) (interface{ Close() error }, error) {
	if network[:3] == "udp" {
		return s.ListenPacket(background, network, address)
	}
	return s.Listen(background, network, address)
}

// TestListenConflicts: what is taken by whom, in both protocols alike.
func TestListenConflicts(t *testing.T) {
	for _, tc := range []struct {
		held, wanted [2]string // network suffix and address
		want         error
	}{
		{[2]string{"", ":80"}, [2]string{"", ":80"}, syscall.EADDRINUSE},
		{[2]string{"", ":80"}, [2]string{"", ":81"}, nil},
		{[2]string{"", ":80"}, [2]string{"4", ":80"}, syscall.EADDRINUSE},
		{[2]string{"", ":80"}, [2]string{"", "10.0.0.1:80"}, syscall.EADDRINUSE},
		{[2]string{"", "10.0.0.1:80"}, [2]string{"", ":80"}, syscall.EADDRINUSE},
		{[2]string{"", "10.0.0.1:80"}, [2]string{"", "[fd00::1]:80"}, nil},
		{[2]string{"", "10.0.0.1:80"}, [2]string{"", "10.0.0.1:80"}, syscall.EADDRINUSE},
		{[2]string{"4", ":80"}, [2]string{"6", ":80"}, nil},
		{[2]string{"4", "0.0.0.0:80"}, [2]string{"6", "[::]:80"}, nil},
		{[2]string{"4", ":80"}, [2]string{"", "[fd00::1]:80"}, nil},
		{[2]string{"4", ":80"}, [2]string{"", "10.0.0.1:80"}, syscall.EADDRINUSE},
		// An unspecified host is all addresses of both families, as in package net.
		{[2]string{"", "[::]:80"}, [2]string{"4", ":80"}, syscall.EADDRINUSE},
		{[2]string{"", "0.0.0.0:80"}, [2]string{"6", ":80"}, syscall.EADDRINUSE},
		{[2]string{"", ":0"}, [2]string{"", ":0"}, nil},
	} {
		for _, kind := range []string{"tcp", "udp"} {
			_, s := pair(t, Config{}, Config{})
			first, err := listenAny(s, kind+tc.held[0], tc.held[1])
			if err != nil {
				t.Fatal(err)
			}
			second, err := listenAny(s, kind+tc.wanted[0], tc.wanted[1])
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: %v and then %v: %v, want %v", kind, tc.held, tc.wanted, err, tc.want)
			}
			if err == nil {
				_ = second.Close()
				continue
			}
			_ = first.Close()
			if again, err := listenAny(s, kind+tc.wanted[0], tc.wanted[1]); err != nil {
				t.Errorf("%s: %v, after the other was closed: %v", kind, tc.wanted, err)
			} else {
				_ = again.Close()
			}
		}
	}
}

// TestListenWildcard: a host that is unspecified takes both families for "tcp" and
// "udp", one for the others.
func TestListenWildcard(t *testing.T) {
	for _, tc := range []struct {
		suffix, host string
		v4, v6       bool
	}{
		{"", "", true, true}, {"", "[::]", true, true}, {"", "0.0.0.0", true, true},
		{"4", "", true, false}, {"4", "0.0.0.0", true, false},
		{"6", "", false, true}, {"6", "[::]", false, true},
	} {
		c, s := pair(t, Config{}, Config{})
		l, err := s.Listen(background, "tcp"+tc.suffix, tc.host+":80")
		if err != nil {
			t.Fatalf("tcp%s %s: %v", tc.suffix, tc.host, err)
		}
		p, err := s.ListenPacket(background, "udp"+tc.suffix, tc.host+":80")
		if err != nil {
			t.Fatalf("udp%s %s: %v", tc.suffix, tc.host, err)
		}
		for to, want := range map[string]bool{"10.0.0.1:80": tc.v4, "[fd00::1]:80": tc.v6} {
			conn, err := c.DialContext(soon(t), "tcp", to)
			if (err == nil) != want || (err != nil && !errors.Is(err, syscall.ECONNREFUSED)) {
				t.Errorf("tcp%s %s: dial %s: %v", tc.suffix, tc.host, to, err)
			}
			if err == nil {
				a, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				_ = a.Close()
				_ = conn.Close()
			}
			u, err := c.DialContext(soon(t), "udp", to)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if want {
				if _, _, err := p.ReadFrom(make([]byte, 9)); err != nil {
					t.Fatal(err)
				}
			} else if _, err := u.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("udp%s %s: %s: %v", tc.suffix, tc.host, to, err)
			}
			_ = u.Close()
		}
	}
}

// outer checks that err is one *net.OpError with the caller's own words.
func outer(t *testing.T, err error, op, network string) {
	t.Helper()
	oe, ok := err.(*net.OpError)
	if !ok {
		t.Errorf("%v: %T is no *net.OpError", err, err)
		return
	}
	if oe.Op != op || oe.Net != network {
		t.Errorf("%v: op %q, network %q; want %q, %q", err, oe.Op, oe.Net, op, network)
	}
	if n := strings.Count(err.Error(), op+" "); n != 1 {
		t.Errorf("%v: says %q %d times", err, op, n)
	}
}

// TestListenErrors: every refusal is one *net.OpError with its errno.
func TestListenErrors(t *testing.T) {
	_, s := pair(t, Config{}, Config{})
	for _, tc := range []struct {
		network, address string
		want             error
		says             string
	}{
		{"tcp", "10.0.0.99:80", syscall.EADDRNOTAVAIL, "10.0.0.99"},
		{"tcp6", "10.0.0.1:80", nil, "not an address of tcp6"},
		{"udp4", "[fd00::1]:80", nil, "not an address of udp4"},
		{"udp", "10.0.0.99:80", syscall.EADDRNOTAVAIL, "10.0.0.99"},
		{"tcp", "example.com:80", nil, "needs an IP address"},
		{"tcp", "10.0.0.1", nil, "missing port"},
		{"tcp", ":99999", nil, "invalid port"},
	} {
		_, err := listenAny(s, tc.network, tc.address)
		if err == nil || !strings.Contains(err.Error(), tc.says) || (tc.want != nil && !errors.Is(err, tc.want)) {
			t.Errorf("%s %s: %v, want %v saying %q", tc.network, tc.address, err, tc.want, tc.says)
			continue
		}
		outer(t, err, "listen", tc.network)
	}
	for _, network := range []string{"ip", "unix", "tcp46", "udp", ""} {
		if _, err := s.Listen(background, network, ":80"); !isUnknownNetwork(err) {
			t.Errorf("Listen on %q: %v", network, err)
		}
	}
	if _, err := s.ListenPacket(background, "tcp", ":80"); !isUnknownNetwork(err) {
		t.Errorf("ListenPacket on tcp: %v", err)
	}
	_ = s.Close()
	for _, network := range []string{"tcp", "udp4"} {
		_, err := listenAny(s, network, ":80")
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", network, err)
		}
		outer(t, err, "listen", network)
	}
}

func isUnknownNetwork(err error) bool {
	var u net.UnknownNetworkError
	return errors.As(err, &u)
}

// failing is a Resolver whose error has a *net.OpError inside, as that of a name
// server's conn has.
type failing struct{ err error }

func (f failing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, f.err
}

// TestDialErrors: every refusal is one *net.OpError about this dial.
func TestDialErrors(t *testing.T) {
	inner := &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}
	c, s := pair(t, Config{Resolver: failing{inner}}, Config{Addrs: serverAddrs[:1]})
	for _, tc := range []struct {
		stack            *Stack
		network, address string
		want             error
		says             string
	}{
		{c, "tcp", "example.com:80", syscall.ECONNREFUSED, "example.com"},
		{s, "tcp", "example.com:80", nil, "stack.Config.Resolver"},
		{s, "tcp", "[2001:db8::1]:80", syscall.EADDRNOTAVAIL, "stack.Config.Addrs"},
		{s, "udp6", "[2001:db8::1]:80", syscall.EADDRNOTAVAIL, "stack.Config.Addrs"},
		{s, "tcp", "10.0.0.1:80", syscall.ECONNREFUSED, "own address"},
		{s, "tcp", "127.0.0.1:80", syscall.ENETUNREACH, "not behind the packet conn"},
		{s, "udp", "[::ffff:127.0.0.1]:80", syscall.ENETUNREACH, "not behind the packet conn"},
		{s, "tcp", "224.0.0.1:80", syscall.ENETUNREACH, "not the address of one host"},
		{s, "tcp", "255.255.255.255:80", syscall.ENETUNREACH, "not the address of one host"},
		{s, "tcp", "0.0.0.0:80", syscall.ENETUNREACH, "not behind the packet conn"},
		{s, "tcp6", "10.0.0.2:80", nil, "no address of family ip6"},
		{s, "tcp", ":80", nil, "missing host"},
		{s, "udp", "10.0.0.2:0", syscall.EDESTADDRREQ, ""},
		{s, "tcp", "10.0.0.2:81", syscall.ECONNREFUSED, "10.0.0.2:81"},
	} {
		_, err := tc.stack.DialContext(soon(t), tc.network, tc.address)
		if err == nil || !strings.Contains(err.Error(), tc.says) || (tc.want != nil && !errors.Is(err, tc.want)) {
			t.Errorf("%s %s: %v, want %v saying %q", tc.network, tc.address, err, tc.want, tc.says)
			continue
		}
		outer(t, err, "dial", tc.network)
	}
	ctx, cancel := context.WithCancelCause(background)
	why := errors.New("changed my mind")
	cancel(why)
	_, err := s.DialContext(ctx, "tcp", "10.0.0.2:80")
	if !errors.Is(err, why) {
		t.Errorf("cancelled dial: %v", err)
	}
	outer(t, err, "dial", "tcp")
	_ = s.Close()
	for _, network := range []string{"tcp", "udp"} {
		_, err := s.DialContext(background, network, "10.0.0.2:80")
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", network, err)
		}
		outer(t, err, "dial", network)
	}
}

package socks4

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/outbound"
)

const granting = "\x00\x5a\x00\x50\x01\x02\x03\x04"

// TestConnect: the conn is plain, and what the destination says at once is there.
func TestConnect(t *testing.T) {
	lookup := func(_ context.Context, network, host string) ([]netip.Addr, error) {
		if network != "ip4" || host != "a.example" {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.7")}, nil
	}
	for _, tc := range []struct {
		d       *Dialer
		address string
		want    string
	}{
		{&Dialer{}, "192.0.2.1:80", "\x04\x01\x00\x50\xc0\x00\x02\x01\x00"},
		{&Dialer{User: "anna", Names: true}, "192.0.2.1:80", "\x04\x01\x00\x50\xc0\x00\x02\x01anna\x00"},
		{&Dialer{Names: true}, "a.example:443", "\x04\x01\x01\xbb\x00\x00\x00\x01\x00a.example\x00"},
		{&Dialer{Lookup: lookup}, "a.example:443", "\x04\x01\x01\xbb\xc0\x00\x02\x07\x00"},
	} {
		tc.d.Address = fakeproxy.Serve(t, func(c *net.TCPConn) {
			if fakeproxy.Play(t, c, fakeproxy.Step{Want: []byte(tc.want), Answer: []byte(granting + "banner")}) {
				fakeproxy.Echo(c)
			}
		})
		c, err := tc.d.DialContext(fakeproxy.Soon(t), "tcp", tc.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("a %T, want a *net.TCPConn", c)
		}
		b := make([]byte, 6)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "banner" {
			t.Errorf("got %q, %v", b, err)
		}
		fakeproxy.WantEcho(t, c)
		_ = c.Close()
	}
}

// TestEarly: what is written is there before the answer, and a refusal is the first
// Read's.
func TestEarly(t *testing.T) {
	for _, answer := range []string{granting, "\x00\x5b......"} {
		d := &Dialer{Address: fakeproxy.Serve(t, func(c *net.TCPConn) {
			if fakeproxy.Play(t, c, fakeproxy.Step{Want: []byte("\x04\x01\x00\x50\xc0\x00\x02\x01\x00hello"), Answer: []byte(answer)}) {
				fakeproxy.Echo(c)
			}
		})}
		c, err := d.DialEarly(fakeproxy.Soon(t), "tcp", "192.0.2.1:80")
		if err == nil {
			_, err = c.Write([]byte("hello"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if answer == granting {
			fakeproxy.WantEcho(t, c)
		} else if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v, want ECONNREFUSED", err)
		}
		_ = c.Close()
	}
	if _, err := new(Dialer).DialEarly(t.Context(), "tcp", "[2001:db8::1]:1"); !errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Errorf("IPv6: %v", err)
	}
}

// TestErrors: answers, and destinations that cannot be asked for.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		d       *Dialer
		network string
		address string
		answer  string
		want    error
		fault   bool
	}{
		{&Dialer{}, "tcp", "192.0.2.1:80", "\x00\x5b......", syscall.ECONNREFUSED, false},
		{&Dialer{}, "tcp", "192.0.2.1:80", "\x04\x5b......", syscall.ECONNREFUSED, false},
		{&Dialer{}, "tcp", "192.0.2.1:80", "\x00\x5c......", syscall.EACCES, true},
		{&Dialer{}, "tcp", "192.0.2.1:80", "\x00\x5d......", syscall.EACCES, true},
		{&Dialer{}, "tcp", "192.0.2.1:80", "\x00\x5e......", outbound.ErrProxy, true},
		{&Dialer{}, "tcp", "192.0.2.1:80", "\x05\x5a......", outbound.ErrProxy, true},
		{&Dialer{}, "tcp", "192.0.2.1:80", "HTTP/1.1 400 Bad Request", outbound.ErrProxy, true},
		{&Dialer{}, "tcp", "[2001:db8::1]:80", "", syscall.EAFNOSUPPORT, false},
		{&Dialer{Names: true}, "tcp", "a\x00b:80", "", syscall.EHOSTUNREACH, false},
		{&Dialer{User: "a\x00b"}, "tcp", "192.0.2.1:80", "", syscall.EACCES, true},
		{&Dialer{User: strings.Repeat("x", 256)}, "tcp", "192.0.2.1:80", "", syscall.EACCES, true},
	} {
		tc.d.Address = fakeproxy.Serve(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte(tc.answer))
			_, _ = io.Copy(io.Discard, c)
		})
		_, err := tc.d.DialContext(fakeproxy.Soon(t), tc.network, tc.address)
		var op *net.OpError
		if !errors.Is(err, tc.want) || errors.Is(err, outbound.ErrProxy) != tc.fault || !errors.As(err, &op) {
			t.Errorf("%q %q: %v, want %v, fault %v", tc.address, tc.answer, err, tc.want, tc.fault)
		}
	}
	d := &Dialer{Address: "x:1", Lookup: func(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }}
	var dns *net.DNSError
	if _, err := d.DialContext(t.Context(), "tcp", "a.example:80"); !errors.As(err, &dns) || errors.Is(err, outbound.ErrProxy) {
		t.Errorf("a name without an address: %v", err)
	}
	if _, err := d.DialContext(t.Context(), "udp", "192.0.2.1:80"); err == nil {
		t.Error("udp is no error")
	}
}

// TestLies: wherever in its answer a proxy lies, there is one line of error.
func TestLies(t *testing.T) {
	talk := fakeproxy.Step{Want: []byte("\x04\x01\x00\x50\xc0\x00\x02\x01\x00"), Answer: []byte(granting)}
	for at := range len(granting) {
		for _, lie := range fakeproxy.Lies {
			if lie == "junk" && at >= 2 {
				continue // the rest may be anything
			}
			ctx, cancel := context.WithCancel(fakeproxy.Soon(t))
			d := &Dialer{Address: fakeproxy.Serve(t, func(c *net.TCPConn) { fakeproxy.Lie(t, c, at, lie, cancel, talk) })}
			c, err := d.DialContext(ctx, "tcp", "192.0.2.1:80")
			cancel()
			if err == nil {
				_ = c.Close()
				t.Errorf("%s at byte %d is no error", lie, at)
				continue
			}
			if lie == "end" && at == 0 { // OpenSSH says no so
				if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, outbound.ErrProxy) {
					t.Errorf("end instead of an answer: %v, want ECONNREFUSED, not ErrProxy", err)
				}
				continue
			}
			if silence := lie == "silence"; errors.Is(err, outbound.ErrProxy) == silence || errors.Is(err, context.Canceled) != silence {
				t.Errorf("%s at byte %d: %v", lie, at, err)
			}
		}
	}
}

// TestRealServers: OpenSSH speaks both, Dante SOCKS4.
func TestRealServers(t *testing.T) {
	for _, s := range []struct {
		name  string
		start func(t testing.TB) string
		names bool
	}{
		{"ssh -D", realproxy.SSHDynamic, true},
		{"dante", func(t testing.TB) string { return realproxy.Dante(t, false) }, false},
	} {
		t.Run(s.name, func(t *testing.T) {
			d := &Dialer{Address: s.start(t), Names: s.names, User: "anna"}
			echo := realproxy.Echo(t, "127.0.0.1:0")
			_, port, _ := net.SplitHostPort(echo)
			for _, address := range []string{echo, "localhost:" + port} {
				c, err := d.DialContext(fakeproxy.Soon(t), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				fakeproxy.WantEcho(t, c)
				_ = c.Close()
			}
			if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", realproxy.Closed(t)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a closed port: %v, want ECONNREFUSED", err)
			}
		})
	}
}

// FuzzAnswer: eight bytes, or an error, and never more than eight are read.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(granting + "SSH-2.0"))
	f.Add([]byte("\x00\x5b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		err := answer(&hop.Proxy{Protocol: "socks4", Address: "x"}, r)
		if left := len(b) - min(len(b), 8); r.Len() != left {
			t.Errorf("%d bytes left, want %d", r.Len(), left)
		}
		if err == nil && (len(b) < 8 || b[1] != granted) {
			t.Errorf("% x is a success", b)
		}
	})
}

package socks5

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/outbound"
)

// TestConnect: each kind of destination, with and without a password, in steps and in
// one piece. The conn is plain, and what the destination says at once is all there.
func TestConnect(t *testing.T) {
	name := strings.Repeat("n", 255)
	for _, tc := range []struct {
		address string
		request string
		reply   string
	}{
		{"192.0.2.1:80", "\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "\x05\x00\x00\x01\x01\x02\x03\x04\x00\x00"},
		{"[2001:db8::1]:443", "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\xbb",
			"\x05\x00\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\xbb"},
		{"a.example:443", "\x05\x01\x00\x03\x09a.example\x01\xbb", "\x05\x00\x00\x03\x00\x00\x00"},
		{name + ":1", "\x05\x01\x00\x03\xff" + name + "\x00\x01", "\x05\x00\x00\x03\xff" + name + "\x00\x00"},
	} {
		for _, user := range []string{"", "anna"} {
			for _, pipeline := range []bool{false, true} {
				d := &Dialer{Pipeline: pipeline}
				request := step{Want: []byte(tc.request), Answer: []byte(tc.reply + "banner")}
				steps := []step{greeting, request}
				switch {
				case user != "" && pipeline:
					steps = []step{{Want: []byte{5, 1, 2}, Answer: []byte{5, 2}}, password, request}
				case user != "":
					steps = []step{secretly, password, request}
				}
				if user != "" {
					d.Username, d.Password = user, "s3cret"
				}
				if pipeline { // the proxy has it all before it answers anything
					var all step
					for _, s := range steps {
						all.Want, all.Answer = append(all.Want, s.Want...), append(all.Answer, s.Answer...)
					}
					steps = []step{all}
				}
				d.Address = serve(t, func(c *net.TCPConn) {
					if play(t, c, steps...) {
						fakeproxy.Echo(c)
					}
				})
				c, err := d.DialContext(soon(t), "tcp", tc.address)
				if err != nil {
					t.Fatalf("%.20s user %q pipeline %v: %v", tc.address, user, pipeline, err)
				}
				if _, ok := c.(*net.TCPConn); !ok {
					t.Errorf("a %T, want a plain *net.TCPConn", c)
				}
				b := make([]byte, 6)
				if n, err := c.Read(b); err != nil || string(b[:n]) != "banner" {
					t.Errorf("got %q, %v, want the banner", b[:n], err)
				}
				wantEcho(t, c)
				_ = c.Close()
			}
		}
	}
}

// TestReplies: what becomes of each reply code, also of one that stops after it.
func TestReplies(t *testing.T) {
	for code, want := range map[byte]error{
		1: syscall.EHOSTUNREACH, 2: syscall.EACCES, 3: syscall.ENETUNREACH, 4: syscall.EHOSTUNREACH,
		5: syscall.ECONNREFUSED, 6: syscall.ETIMEDOUT, 7: syscall.EOPNOTSUPP, 8: syscall.EAFNOSUPPORT,
		9: syscall.ENETUNREACH, 255: syscall.ENETUNREACH,
	} {
		for _, whole := range []bool{true, false} {
			answer := []byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}
			if !whole {
				answer = answer[:2]
			}
			d := &Dialer{Address: serve(t, func(c *net.TCPConn) { play(t, c, greeting, step{Want: connect4.Want, Answer: answer}) })}
			_, err := d.DialContext(soon(t), "tcp", "192.0.2.1:80")
			var op *net.OpError
			if !errors.Is(err, want) || !errors.As(err, &op) || op.Addr.String() != "192.0.2.1:80" {
				t.Errorf("code %d: %v, want %v in a *net.OpError", code, err, want)
				continue
			}
			fault := code == 7 || code > 8
			if errors.Is(err, outbound.ErrProxy) != fault {
				t.Errorf("code %d: %v, ErrProxy is %v", code, err, !fault)
			}
			if !strings.Contains(err.Error(), d.Address) || strings.Contains(err.Error(), "\n") {
				t.Errorf("code %d: %v: no line that names the proxy", code, err)
			}
			if op.Timeout() != (code == 6) {
				t.Errorf("code %d: Timeout is %v", code, op.Timeout())
			}
		}
	}
}

// conversation is a handshake with everything in it.
var conversation = []step{secretly, password, connect4}

// TestLies: a proxy that ends, says something else or says nothing at any byte of its
// answers is an error, of one line, in which the password is not.
func TestLies(t *testing.T) {
	total := fakeproxy.Total(conversation...)
	for at := range total {
		for _, lie := range fakeproxy.Lies {
			ctx, cancel := context.WithCancel(soon(t))
			address := serve(t, func(c *net.TCPConn) { fakeproxy.Lie(t, c, at, lie, cancel, conversation...) })
			d := &Dialer{Address: address, Username: "anna", Password: "s3cret"}
			c, err := d.DialContext(ctx, "tcp", "192.0.2.1:80")
			cancel()
			switch {
			case lie == "junk" && at >= total-6 || lie == "junk" && at == total-8:
				// An address may be anything, and RSV too.
				if err == nil {
					_ = c.Close()
				}
				continue
			case err == nil:
				_ = c.Close()
				t.Errorf("%s at byte %d is no error", lie, at)
				continue
			case lie == "silence" && !errors.Is(err, context.Canceled):
				t.Errorf("%s at byte %d: %v, want that it was cancelled", lie, at, err)
			case lie == "end" && at == 4: // OpenSSH says no so
				if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, outbound.ErrProxy) {
					t.Errorf("end instead of a reply: %v, want ECONNREFUSED, not ErrProxy", err)
				}
			case lie != "silence" && !errors.Is(err, outbound.ErrProxy):
				t.Errorf("%s at byte %d: %v, want ErrProxy", lie, at, err)
			}
			if s := err.Error(); strings.Contains(s, "s3cret") || strings.ContainsAny(s, "\n\r") {
				t.Errorf("%s at byte %d: %q", lie, at, s)
			}
		}
	}
}

// TestTimeout: a proxy that does not answer is the proxy's fault until it has the
// request; then it may be the destination. Clients see a time-out at any rate.
func TestTimeout(t *testing.T) {
	for _, tc := range []struct {
		steps []step
		fault bool
	}{
		{nil, true},
		{[]step{greeting}, false},
	} {
		d := &Dialer{Timeout: 50 * time.Millisecond, Address: serve(t, func(c *net.TCPConn) {
			if play(t, c, tc.steps...) {
				_, _ = c.Read(make([]byte, 100)) // and then nothing
				_, _ = c.Read(make([]byte, 100))
			}
		})}
		_, err := d.DialContext(t.Context(), "tcp", "192.0.2.1:80")
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("after %d steps: %v, want a time-out", len(tc.steps), err)
		}
		if errors.Is(err, outbound.ErrProxy) != tc.fault || errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("after %d steps: %v: ErrProxy is %v", len(tc.steps), err, !tc.fault)
		}
	}
}

// TestProxyDown: that the proxy refuses us does not mean that the destination does.
func TestProxyDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	d := &Dialer{Address: l.Addr().String()}
	_, err = d.DialContext(soon(t), "tcp", "192.0.2.1:80")
	if errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, syscall.ENETUNREACH) || !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("%v, want ENETUNREACH and ErrProxy, and not ECONNREFUSED", err)
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno != syscall.ENETUNREACH {
		t.Errorf("the errno in it is %v", errno)
	}
	if n := strings.Count(err.Error(), d.Address); n != 1 {
		t.Errorf("%v names the proxy %d times", err, n)
	}
}

// TestMisuse: what cannot be is refused before anything is dialled.
func TestMisuse(t *testing.T) {
	dialled := func(context.Context, string, string) (net.Conn, error) {
		t.Error("the proxy was dialled")
		return nil, errors.New("no")
	}
	long := strings.Repeat("x", 256)
	for _, tc := range []struct {
		d                *Dialer
		network, address string
		want             error
	}{
		{&Dialer{}, "udp", "192.0.2.1:80", nil},
		{&Dialer{}, "tcp", "192.0.2.1", nil},
		{&Dialer{}, "tcp", long + ":80", syscall.EHOSTUNREACH},
		{&Dialer{Username: long}, "tcp", "192.0.2.1:80", syscall.EACCES},
		{&Dialer{Username: "a", Password: long}, "tcp", "192.0.2.1:80", syscall.EACCES},
		{&Dialer{Password: "hush"}, "tcp", "192.0.2.1:80", syscall.EACCES},
	} {
		tc.d.Address, tc.d.Dialer = "192.0.2.9:1080", dialFunc(dialled)
		_, err := tc.d.DialContext(t.Context(), tc.network, tc.address)
		var op *net.OpError
		if !errors.As(err, &op) || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s %.20s: %v, want %v", tc.network, tc.address, err, tc.want)
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("%v has the password", err)
		}
	}
	var zero Dialer
	if _, err := zero.DialContext(t.Context(), "tcp", "192.0.2.1:80"); !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("without an address: %v", err)
	}
}

// TestUnixSocket: a proxy with a path, for which the Dialer is not asked.
func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("no Unix sockets here: %v", err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if play(t, c, greeting, connect4) {
			_, _ = c.Write([]byte("x"))
		}
	}()
	d := &Dialer{Address: path, Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("not me")
	})}
	c, err := d.DialContext(soon(t), "tcp", "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	<-done
}

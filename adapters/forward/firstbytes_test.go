package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/adapters/sniff"
	"l3extract/stack"
)

// hello returns what a TLS client says first.
func hello(t *testing.T, name string) string {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan []byte)
	go func() { // ends with the pipe
		b := make([]byte, 8<<10)
		n, _ := far.Read(b)
		_ = far.Close()
		done <- b[:n]
	}()
	_ = tls.Client(near, &tls.Config{ServerName: name}).HandshakeContext(t.Context()) // fails for want of an answer
	_ = near.Close()
	return string(<-done)
}

// TestSniff: Route finds the name in what the client says first, all of which goes to the
// server; a client that says nothing, or nothing that is known, is served as well.
func TestSniff(t *testing.T) {
	long := "GET / HTTP/1.1\r\nHost: long.example\r\nCookie: " + string(bytes.Repeat([]byte("x"), 2*sniff.MaxBytes)) + "\r\n\r\n"
	for _, tc := range []struct {
		name string
		say  []string
		want string
	}{
		{"TLS", []string{hello(t, "tls.example")}, "tls.example"},
		{"TLS in pieces", []string{hello(t, "tls.example")[:3], hello(t, "tls.example")[3:10], hello(t, "tls.example")[10:]}, "tls.example"},
		{"HTTP", []string{"GET / HTTP/1.1\r\nHo", "st: http.example\r\n\r\n"}, "http.example"},
		{"more than is looked at", []string{long}, "long.example"},
		{"another protocol", []string{"\x00\x01binary"}, ""},
		{"nothing", nil, ""},
		{"half a request", []string{"GET / HTTP/1.1\r\n"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T) {
				eachRoute(t, func(t *testing.T, atOnce bool) { testSniff(t, atOnce, tc.say, tc.want) })
			})
		})
	}
}

func testSniff(t *testing.T, atOnce bool, say []string, want string) {
	l := listenLoopback(t)
	var seen atomic.Pointer[outbound.Flow]
	srv := &Server{
		Sniff:           func(f outbound.Flow) bool { return f.Network == "tcp" && f.Destination.Port() == 443 },
		RouteNeverWaits: atOnce,
		Route: func(_ context.Context, f outbound.Flow) (Target, error) {
			seen.Store(&f)
			return Target{Addr: l.Addr().(*net.TCPAddr).AddrPort(), Trusted: true}, nil
		},
	}
	r := newIdleRig(t, srv, stack.Config{TCP: lazy})
	if want != "" {
		r.work.sniffTime = patience // pieces may be late on a busy machine
	}
	r.cancel, r.served = r.serve()
	c := r.dial("198.51.100.7:443")
	sent := 0
	for _, s := range say {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		sent += len(s)
	}
	up, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if f := seen.Load(); f.Name != want || f.Destination.Port() != 443 {
		t.Errorf("Route was asked for %+v, want the name %q", f, want)
	}
	if _, err := io.WriteString(up, "server first"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_ = up.SetDeadline(time.Now().Add(patience))
	b := make([]byte, sent+100)
	if n, err := io.ReadFull(c, b[:12]); err != nil || string(b[:n]) != "server first" {
		t.Errorf("the client got %q, %v", b[:n], err)
	}
	all := ""
	for _, s := range say {
		all += s
	}
	if _, err := io.ReadFull(up, b[:sent]); err != nil || string(b[:sent]) != all {
		t.Errorf("the server got %d bytes of %d, or others, %v", sent, len(all), err)
	}
	echo(t, c, up)
	wantNames := uint64(0)
	if want != "" {
		wantNames = 1
	}
	if st := srv.Stats(); st.Sniffed != 1 || st.SniffedNames != wantNames {
		t.Errorf("%+v", st)
	}
}

// TestSniffHalfClosed: a client that ends its half while it is looked at is served, and no
// name is waited for.
func TestSniffHalfClosed(t *testing.T) {
	for say, want := range map[string]string{"": "", "GET / HTTP/1.1\r\nHost: http.example\r\nAcc": "http.example", hello(t, "tls.example")[:20]: ""} {
		eachWay(t, func(t *testing.T) {
			l := listenLoopback(t)
			var name atomic.Value
			r := newIdleRig(t, &Server{
				Sniff: func(outbound.Flow) bool { return true },
				Route: func(_ context.Context, f outbound.Flow) (Target, error) {
					name.Store(f.Name)
					return Target{Addr: l.Addr().(*net.TCPAddr).AddrPort(), Trusted: true}, nil
				},
			}, stack.Config{TCP: lazy})
			r.work.sniffTime = time.Hour
			r.cancel, r.served = r.serve()
			c := r.dial("198.51.100.7:443")
			if _, err := io.WriteString(c, say); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			up, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer up.Close()
			_, _ = c.SetDeadline(time.Now().Add(patience)), up.SetDeadline(time.Now().Add(patience))
			if got, err := io.ReadAll(up); err != nil || string(got) != say || name.Load() != want {
				t.Errorf("the server got %q, %v, want %q; the name was %q, want %q", got, err, say, name.Load(), want)
			}
			_, _ = io.WriteString(up, "answer")
			_ = up.Close()
			if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
				t.Errorf("the client got %q, %v", got, err)
			}
		})
	}
}

// TestSniffRefused: who is looked at is connected first, so it is reset; others are not
// looked at.
func TestSniffRefused(t *testing.T) {
	srv := &Server{
		Sniff: func(f outbound.Flow) bool { return f.Destination.Port() == 443 },
		Route: func(_ context.Context, f outbound.Flow) (Target, error) { return Target{}, syscall.EHOSTUNREACH },
	}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("dial: %v, want EHOSTUNREACH", err)
	}
	c := r.dial("198.51.100.7:443")
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
	if st := srv.Stats(); st.Sniffed != 1 || st.Unroutable != 2 {
		t.Errorf("%+v", st)
	}
}

// TestSniffEnds: a client that goes while it is looked at, and a Server that ends.
func TestSniffEnds(t *testing.T) {
	srv := &Server{Sniff: func(outbound.Flow) bool { return true }}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	r.listen("198.51.100.7:443")
	c := r.dial("198.51.100.7:443")
	_ = c.Reset()
	r.causes("tcp", 1)
	r.dial("198.51.100.7:443")
	wait(t, "one to be looked at", func() bool { return srv.Stats().Sniffed > 0 }) // the first may have gone before
	r.cancel(nil)
	<-r.served
}

// earlyDialer answers when a test says so.
type earlyDialer struct {
	Dialer
	conns chan *earlyConn
}

// earlyConn is what it gives: reads wait for the answer.
type earlyConn struct {
	net.Conn
	answer chan error
	err    error
}

func (d *earlyDialer) DialEarly(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	e := &earlyConn{Conn: c, answer: make(chan error, 1)}
	d.conns <- e
	return e, nil
}

func (c *earlyConn) Read(b []byte) (int, error) {
	if err, ok := <-c.answer; ok && err != nil {
		c.err = err
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

// TestOptimistic: the client is answered before the dial has ended, and its first bytes
// reach an EarlyDialer's proxy before that has answered.
func TestOptimistic(t *testing.T) {
	l := listenLoopback(t)
	d := &earlyDialer{&proxyTo{addr: l.Addr().String()}, make(chan *earlyConn, 2)}
	hang := make(chan struct{})
	slow := dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case <-hang:
		case <-ctx.Done():
		}
		return nil, syscall.ECONNREFUSED
	})
	eachRoute(t, func(t *testing.T, atOnce bool) {
		r := newRig(t, routes{
			"198.51.100.1:80": {Dialer: d, Optimistic: true},
			"198.51.100.2:80": {Dialer: new(direct.Dialer), Addr: l.Addr().(*net.TCPAddr).AddrPort(), Trusted: true, Optimistic: true},
			"198.51.100.3:80": {Dialer: slow, Optimistic: true},
		}.server(atOnce, nil), stack.Config{TCP: lazy})
		reset := func(c net.Conn) {
			t.Helper()
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v, want ECONNRESET", err)
			}
		}
		for _, answer := range []error{nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}} {
			c := r.dial("198.51.100.1:80")
			if _, err := io.WriteString(c, "early"); err != nil {
				t.Fatal(err)
			}
			_ = c.Flush()
			up, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 5)
			if _, err := io.ReadFull(up, b); err != nil || string(b) != "early" {
				t.Errorf("before its answer the proxy got %q, %v", b, err)
			}
			conn := <-d.conns
			conn.answer <- answer
			close(conn.answer)
			if answer == nil {
				echo(t, c, up)
				_ = c.Close()
			} else {
				reset(c)
			}
			_ = up.Close()
		}
		c := r.dial("198.51.100.2:80")
		up, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, up)
		_, _ = c.Close(), up.Close()
		c = r.dial("198.51.100.3:80") // while its dial hangs
		hang <- struct{}{}
		reset(c)
		failed := 0
		for _, cause := range r.causes("tcp", 4) {
			if errors.Is(cause, stack.DialFailed) {
				failed++
			}
		}
		if failed != 2 {
			t.Errorf("%d flows ended by a failed dial, want 2: %v", failed, r.causes("tcp", 4))
		}
	})
}

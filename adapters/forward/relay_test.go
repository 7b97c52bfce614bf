package forward

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"l3extract/stack"
	"l3extract/tcp"
)

// echo passes a few bytes both ways.
func echo(t testing.TB, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		_ = way[1].SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = way[1].SetReadDeadline(time.Time{})
	}
}

// otherConn hides what kind of conn it is, as a proxy's does.
type otherConn struct{ net.Conn }

func (c otherConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

func otherDialer() Dialer {
	var real net.Dialer
	return dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := real.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return otherConn{c}, nil
	})
}

// TestBulk: 32 MiB each way at once, byte for byte, then the ends of both sides.
func TestBulk(t *testing.T) { eachWay(t, testBulk) }

func testBulk(t *testing.T) {
	size := 32 << 20
	if testing.Short() || raced {
		size = 4 << 20
	}
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(body)
	for _, tc := range []struct {
		name   string
		dialer Dialer
		addr   string
	}{
		{"socket IPv4", new(net.Dialer), "198.51.100.7:80"},
		{"socket IPv6", nil, "[2001:db8::7]:80"},
		{"any conn", otherDialer(), "198.51.100.7:80"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, &Server{Dialer: tc.dialer}, stack.Config{TCP: lazy})
			c, up := r.joined(tc.addr)
			type halfCloser interface {
				net.Conn
				CloseWrite() error
			}
			errs := make(chan error, 4)
			for _, end := range []halfCloser{c, up} {
				go func() {
					_, err := end.Write(body)
					errs <- errors.Join(err, end.CloseWrite())
				}()
				go func() {
					got, err := io.ReadAll(end)
					if err == nil && !bytes.Equal(got, body) {
						err = errors.New("other bytes came than were sent")
					}
					errs <- err
				}()
			}
			for range 4 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			r.wantCause("tcp", stack.Closed)
		})
	}
}

// TestHalfClose: either side may end first and still listen.
func TestHalfClose(t *testing.T) { eachWay(t, testHalfClose) }

func testHalfClose(t *testing.T) {
	type halfCloser interface {
		net.Conn
		CloseWrite() error
	}
	for _, clientFirst := range []bool{true, false} {
		t.Run(map[bool]string{true: "client first", false: "upstream first"}[clientFirst], func(t *testing.T) {
			r := newRig(t, &Server{}, stack.Config{TCP: lazy})
			c, up := r.joined("198.51.100.7:80")
			var first, second halfCloser = c, up
			if !clientFirst {
				first, second = up, c
			}
			if _, err := first.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(second); err != nil || string(got) != "question" {
				t.Fatalf("got %q, %v", got, err)
			}
			if _, err := second.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			if err := second.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(first); err != nil || string(got) != "answer" {
				t.Fatalf("got %q, %v", got, err)
			}
			r.wantCause("tcp", stack.Closed)
		})
	}
}

// TestUpstreamReset: the client gets what the upstream said, then ECONNRESET, also
// while the client has ended its side.
func TestUpstreamReset(t *testing.T) { eachWay(t, testUpstreamReset) }

func testUpstreamReset(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(map[bool]string{false: "open", true: "client ended its side"}[half], func(t *testing.T) {
			r := newRig(t, &Server{}, stack.Config{TCP: lazy})
			c, up := r.joined("198.51.100.7:80")
			if half {
				_ = c.CloseWrite()
				if got, err := io.ReadAll(up); err != nil || len(got) != 0 {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			last := bytes.Repeat([]byte("last words "), 1000)
			if _, err := up.Write(last); err != nil {
				t.Fatal(err)
			}
			// Only when they are out of this socket: its own reset would drop them.
			wait(t, "the last words to arrive", func() bool { return c.Info().Unread == len(last) })
			_ = up.SetLinger(0)
			_ = up.Close()
			_ = c.SetReadDeadline(time.Now().Add(patience))
			got, err := io.ReadAll(c)
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v, want ECONNRESET", err)
			}
			if !bytes.Equal(got, last) {
				t.Errorf("got %d bytes before the reset, want %d", len(got), len(last))
			}
			r.wantCause("tcp", stack.ResetByUpstream)
		})
	}
}

// TestClientReset: the upstream is reset, at once, whatever it waits for.
func TestClientReset(t *testing.T) { eachWay(t, testClientReset) }

func testClientReset(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(map[bool]string{false: "open", true: "client ended its side"}[half], func(t *testing.T) {
			r := newRig(t, &Server{}, stack.Config{TCP: lazy})
			c, up := r.joined("198.51.100.7:80")
			echo(t, c, up)
			if half {
				_ = c.CloseWrite()
				if got, err := io.ReadAll(up); err != nil || len(got) != 0 {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			_ = c.Reset()
			_ = up.SetReadDeadline(time.Now().Add(patience))
			if half {
				// The read side has seen its end: writing finds the reset.
				wait(t, "a write to fail", func() bool { _, err := up.Write([]byte("x")); return err != nil })
			} else if _, err := up.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("upstream read: %v, want ECONNRESET", err)
			}
			r.wantCause("tcp", stack.ResetByClient)
		})
	}
}

// TestUpstreamStopsTaking: an upstream that closes while the client goes on sending
// is a reset for the client, behind the upstream's last words.
func TestUpstreamStopsTaking(t *testing.T) { eachWay(t, testUpstreamStopsTaking) }

func testUpstreamStopsTaking(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	c, up := r.joined("198.51.100.7:80")
	if _, err := up.Write([]byte("413 too large")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("413 too large"))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	_ = up.Close()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	var err error
	for err == nil {
		_, err = c.Write(make([]byte, 32<<10))
	}
	// EPIPE is what Linux, too, makes of a reset that comes after the other's FIN.
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write: %v, want a reset", err)
	}
	r.wantCause("tcp", stack.ResetByUpstream)
}

// TestNoHalfClose: an upstream that cannot pass on a half-close still answers.
func TestNoHalfClose(t *testing.T) {
	near, far := net.Pipe()
	srv := &Server{Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) { return near, nil })}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	c := r.dial("198.51.100.7:80")
	echo(t, c, far)
	_ = c.CloseWrite()
	if _, err := far.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "late" {
		t.Errorf("got %q, %v", got, err)
	}
	r.wantCause("tcp", stack.Closed)
}

// TestKill: Stack.Kill ends both ends with its cause.
func TestKill(t *testing.T) { eachWay(t, testKill) }

func testKill(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	c, up := r.joined("198.51.100.7:80")
	echo(t, c, up)
	for f := range r.server.Flows() {
		r.server.Kill(f.ID, stack.Evicted)
	}
	wantReset(t, c, up)
	r.wantCause("tcp", stack.Evicted)
}

// wantReset expects both ends of a relay to be reset.
func wantReset(t *testing.T, c *tcp.Stream, up *net.TCPConn) {
	t.Helper()
	for _, end := range []net.Conn{c, up} {
		_ = end.SetReadDeadline(time.Now().Add(patience))
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%T: %v, want ECONNRESET", end, err)
		}
	}
}

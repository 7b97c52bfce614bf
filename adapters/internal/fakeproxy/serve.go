package fakeproxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Patience bounds what must happen on a busy machine.
const Patience = 20 * time.Second

// Soon returns a context for what must end.
func Soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Serve runs a proxy on the loopback interface that does what f says with every
// connection, until the test ends.
func Serve(t testing.TB, f func(c *net.TCPConn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ServeOn(t, l, func(c net.Conn) { f(c.(*net.TCPConn)) })
	return l.Addr().String()
}

// ServeOn does what Serve does with a listener of the test's.
func ServeOn(t testing.TB, l net.Listener, f func(c net.Conn)) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		wg.Wait()
	})
}

// Step is a part of a conversation: what the client says, and the answer.
type Step struct{ Want, Answer []byte }

// Play has a conversation. It reports whether it went as written.
func Play(t testing.TB, c net.Conn, steps ...Step) bool {
	for _, s := range steps {
		got := make([]byte, len(s.Want))
		n, err := io.ReadFull(c, got)
		if err != nil || !bytes.Equal(got, s.Want) {
			if err == nil || n > 0 && !bytes.HasPrefix(s.Want, got[:n]) {
				t.Errorf("the client says %q, %v, want %q", got[:n], err, s.Want)
			}
			return false
		}
		if _, err := c.Write(s.Answer); err != nil {
			return false
		}
	}
	return true
}

// Echo sends back what comes.
func Echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	if c, ok := c.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// WantEcho says something through c and hears it.
func WantEcho(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(Patience))
	want := []byte("all that jazz")
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %q, %v", got, err)
	}
}

// Dialer is a way to the proxy that is a function.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// DialContext calls d.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// Lies are the ways in which a proxy can fail to give the rest of an answer.
var Lies = []string{"end", "reset", "junk", "silence"}

// Lie has the conversation until byte at of the answers, all answers counted together,
// and goes on with a lie. For silence it calls hush, and waits for the client to go.
func Lie(t testing.TB, c *net.TCPConn, at int, lie string, hush func(), steps ...Step) {
	for _, s := range steps {
		if at < len(s.Answer) {
			if !Play(t, c, Step{s.Want, s.Answer[:at]}) {
				return
			}
			break
		}
		if !Play(t, c, s) {
			return
		}
		at -= len(s.Answer)
	}
	switch lie {
	case "reset":
		_ = c.SetLinger(0)
	case "junk":
		_, _ = c.Write(bytes.Repeat([]byte{0xaa}, 100<<10))
		_, _ = io.Copy(io.Discard, c)
	case "silence":
		hush()
		_, _ = io.Copy(io.Discard, c)
	}
}

// Total returns the number of bytes of all answers.
func Total(steps ...Step) int {
	n := 0
	for _, s := range steps {
		n += len(s.Answer)
	}
	return n
}

package socks5

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// patience bounds what must happen on a busy machine.
const patience = 20 * time.Second

// soon is a context for what must end.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// serve runs a proxy that does what f says with every connection, until the test
// ends.
func serve(t testing.TB, f func(c *net.TCPConn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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
				f(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		wg.Wait()
	})
	return l.Addr().String()
}

// step is a part of a conversation: what the client says, and the answer.
type step struct{ want, answer []byte }

// play has a conversation. It reports whether it went as written.
func play(t testing.TB, c net.Conn, steps ...step) bool {
	for _, s := range steps {
		got := make([]byte, len(s.want))
		n, err := io.ReadFull(c, got)
		if err != nil || !bytes.Equal(got, s.want) {
			if err == nil || n > 0 && !bytes.HasPrefix(s.want, got[:n]) {
				t.Errorf("the client says % x, %v, want % x", got[:n], err, s.want)
			}
			return false
		}
		if _, err := c.Write(s.answer); err != nil {
			return false
		}
	}
	return true
}

// echo sends back what comes.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

var (
	greeting = step{[]byte{5, 1, 0}, []byte{5, 0}}
	secretly = step{[]byte{5, 2, 0, 2}, []byte{5, 2}}
	password = step{[]byte("\x01\x04anna\x06s3cret"), []byte{1, 0}}
	connect4 = step{[]byte{5, 1, 0, 1, 192, 0, 2, 1, 0, 80}, []byte{5, 0, 0, 1, 198, 51, 100, 1, 4, 0}}
)

// wantEcho says something through c and hears it.
func wantEcho(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	want := []byte("all that jazz")
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %q, %v", got, err)
	}
}

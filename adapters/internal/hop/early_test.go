package hop

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

var errRefused = errors.New("refused")

// newEarly returns a conn whose proxy answers "yes!", or "no" to refuse.
func newEarly(t *testing.T, timeout time.Duration) (c net.Conn, proxy net.Conn) {
	near, far := ends(t, true)
	p := &Proxy{Timeout: timeout}
	read := func(r io.Reader) error {
		b := make([]byte, 4)
		n, err := io.ReadFull(r, b[:2])
		switch {
		case err != nil:
			return Cut(err)
		case string(b[:n]) == "no":
			return errRefused
		}
		_, err = io.ReadFull(r, b[2:])
		return Cut(err)
	}
	c = p.Early(near, read, func(err error) error { return OpError("dial", "tcp", "x:1", err) })
	t.Cleanup(func() { _ = c.Close() })
	return c, far
}

func say(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// TestEarly: written to before the answer, which comes in pieces, with deadlines that
// pass in between.
func TestEarly(t *testing.T) {
	c, proxy := newEarly(t, 0)
	say(t, c, "hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(proxy, b); err != nil || string(b) != "hello" {
		t.Fatalf("the proxy got %q, %v", b, err)
	}
	for _, part := range []string{"", "y", "e", "s"} {
		say(t, proxy, part)
		for { // until the part has come
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("after %q: %v, want a time-out", part, err)
			}
			if e := c.(*early); len(e.heard.got) >= map[string]int{"": 0, "y": 1, "e": 2, "s": 3}[part] {
				break
			}
		}
	}
	say(t, proxy, "!banner")
	_ = c.SetReadDeadline(time.Time{})
	b = make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "banner" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := c.(*early).CloseWrite(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(proxy); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestEarlyRefused: all calls say so from then on.
func TestEarlyRefused(t *testing.T) {
	for _, answer := range []string{"no", "ye", ""} {
		c, proxy := newEarly(t, 0)
		say(t, proxy, answer)
		_ = proxy.Close()
		_, rerr := c.Read(make([]byte, 1))
		_, again := c.Read(make([]byte, 1))
		_, werr := c.Write([]byte("x"))
		for _, err := range []error{rerr, again, werr, c.(*early).CloseWrite()} {
			var op *net.OpError
			if !errors.As(err, &op) || op.Op != "dial" || (answer == "no") != errors.Is(err, errRefused) || errors.Is(err, io.EOF) {
				t.Errorf("%q: %v", answer, err)
			}
		}
	}
}

// TestEarlyTimeout: for who reads, and for who comes later.
func TestEarlyTimeout(t *testing.T) {
	for _, reads := range []bool{true, false} {
		c, proxy := newEarly(t, 20*time.Millisecond)
		if !reads {
			if _, err := proxy.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) { // its end
				t.Error(err)
			}
		}
		_, err := c.Read(make([]byte, 1))
		var op *net.OpError
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("%v, want a time-out of the dial", err)
		}
	}
}

// TestEarlyClose: ends who reads, and leaves no timer.
func TestEarlyClose(t *testing.T) {
	c, _ := newEarly(t, 0)
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	_ = c.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

package hop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// ends returns both ends of a connection: a kernel's, which can be peeked at, or a
// pipe's.
func ends(t testing.TB, kernel bool) (near, far net.Conn) {
	t.Helper()
	if !kernel {
		near, far = net.Pipe()
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if far, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

// TestReadHead: cut into pieces at every byte, and nothing beyond the head is read.
func TestReadHead(t *testing.T) {
	const limit = 64
	for _, tc := range []struct {
		in   string
		head int // 0: an error
		err  error
	}{
		{"HTTP/1.1 200 OK\r\nA: b\r\n\r\nSSH-2.0", 25, nil},
		{"HTTP/1.1 200 OK\n\n\r\n\r\n", 17, nil},
		{"\r\n\r\n", 4, nil},
		{"HTTP/1.1 200 OK\r\n", 0, io.ErrUnexpectedEOF},
		{"", 0, io.EOF},
		{strings.Repeat("x", limit-4) + "\r\n\r\n", limit, nil},
		{strings.Repeat("x", limit-3) + "\r\n\r\n", 0, ErrHead},
		{strings.Repeat("x", 10*limit), 0, ErrHead},
	} {
		for _, kernel := range []bool{true, false} {
			for cut := 0; cut <= len(tc.in); cut += 1 + len(tc.in)/30 {
				near, far := ends(t, kernel)
				go func() { // ends with the conn
					_, _ = far.Write([]byte(tc.in[:cut]))
					_, _ = far.Write([]byte(tc.in[cut:]))
					_ = far.Close()
				}()
				head, err := ReadHead(near, limit)
				if string(head) != tc.in[:tc.head] || !errors.Is(err, tc.err) {
					t.Fatalf("%q cut at %d: %q, %v, want %v", tc.in, cut, head, err, tc.err)
				}
				if err == nil {
					if rest, _ := io.ReadAll(near); string(rest) != tc.in[tc.head:] {
						t.Errorf("%q: %q is left", tc.in, rest)
					}
				}
				_ = near.Close()
			}
		}
	}
}

// TestReadHeadDeadline: a wait that is cut short is an error.
func TestReadHeadDeadline(t *testing.T) {
	near, _ := ends(t, true)
	_ = near.SetDeadline(past)
	if _, err := ReadHead(near, 10); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestQuiet: an idle conn is quiet until its other end says or does something.
func TestQuiet(t *testing.T) {
	if !Quiet(struct{ net.Conn }{}) {
		t.Error("a conn that cannot be asked is not quiet")
	}
	near, far := ends(t, true)
	if _, ok := peeker(near); !ok {
		t.Skip("conns cannot be peeked at here")
	}
	if !Quiet(near) {
		t.Error("an idle conn is not quiet")
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); Quiet(near); {
		if time.Now().After(end) {
			t.Fatal("a conn with bytes to be read is quiet")
		}
	}
	if n, err := near.Read(make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("%d bytes, %v: Quiet took some", n, err)
	}
	_ = near.Close()
	if Quiet(near) {
		t.Error("a closed conn is quiet")
	}
}

// FuzzHeadEnd: however the bytes come, the end is where the first empty line is.
func FuzzHeadEnd(f *testing.F) {
	f.Add([]byte("a\r\n\r\nb"), 3)
	f.Add([]byte("a\n\r\n\nb"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 0 || cut > len(b) {
			return
		}
		whole := headEnd(b, 0)
		if before := headEnd(b[:cut], 0); before > 0 {
			if before != whole {
				t.Errorf("%q ends at %d, and its first %d bytes at %d", b, whole, cut, before)
			}
			return
		}
		if after := headEnd(b, cut); after != whole {
			t.Errorf("%q ends at %d, and with a cut at %d at %d", b, whole, cut, after)
		}
		if whole > 0 && !bytes.HasSuffix(b[:whole], []byte("\n")) {
			t.Errorf("%q ends at %d", b, whole)
		}
	})
}

package tcp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// kernelPair returns the two ends of a kernel connection.
func kernelPair(t *testing.T, network string) (x, y net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/s"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skipf("no %s sockets here: %v", network, err)
	}
	defer l.Close()
	x, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

// TestRelay copies both ways between a Stream and everything that io.Copy can meet,
// and compares every byte.
func TestRelay(t *testing.T) {
	r := newRig(t, Config{})
	want := pattern(3 << 20)
	for name, ends := range map[string]func(t *testing.T) (x, y net.Conn){
		"tcp":     func(t *testing.T) (x, y net.Conn) { return kernelPair(t, "tcp") },
		"unix":    func(t *testing.T) (x, y net.Conn) { return kernelPair(t, "unix") },
		"wrapped": func(t *testing.T) (x, y net.Conn) { x, y = kernelPair(t, "tcp"); return struct{ net.Conn }{x}, y },
		"stream":  func(t *testing.T) (x, y net.Conn) { return r.pair() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := r.pair()
			x, y := ends(t)
			var wg sync.WaitGroup
			wg.Go(func() { // a → x
				n, err := io.Copy(x, a)
				if n != int64(len(want)) || err != nil {
					t.Errorf("out: %d, %v", n, err)
				}
				closeWrite(x)
			})
			wg.Go(func() { // x → a
				n, err := io.Copy(a, x)
				if n != int64(len(want)) || err != nil {
					t.Errorf("in: %d, %v", n, err)
				}
				a.CloseWrite()
			})
			for _, c := range []net.Conn{b, y} {
				wg.Go(func() {
					for rest := want; len(rest) > 0; {
						n := min(1+len(rest)*7/8, 50_000, len(rest))
						if _, err := c.Write(rest[:n]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
					}
					closeWrite(c)
				})
				wg.Go(func() {
					if got, err := io.ReadAll(c); !bytes.Equal(got, want) || err != nil {
						t.Errorf("%d bytes came, %v", len(got), err)
					}
				})
			}
			wg.Wait()
			a.Close()
			b.Close()
			x.Close()
			y.Close()
		})
	}
}

func closeWrite(c net.Conn) {
	if s, ok := c.(struct{ net.Conn }); ok {
		c = s.Conn
	}
	c.(interface{ CloseWrite() error }).CloseWrite()
}

// TestResetUnderWriteTo aborts streams whose memory is being handed to the kernel,
// while other streams fill the freed memory: only a prefix of the right bytes may
// come out.
func TestResetUnderWriteTo(t *testing.T) {
	r := newRig(t, Config{})
	want := pattern(1 << 20)
	noise, noisy := r.pair()
	defer noise.Reset()
	var wg sync.WaitGroup
	wg.Go(func() { noise.ReadFrom(endless{}) })
	wg.Go(func() { io.Copy(io.Discard, noisy) })
	for i := range 12 {
		a, b := r.pair()
		x, y := kernelPair(t, "tcp")
		var done sync.WaitGroup
		done.Go(func() { io.Copy(x, a); x.Close() })
		done.Go(func() { b.Write(want) })
		got := make([]byte, 0, len(want))
		buf := make([]byte, 32<<10)
		for {
			n, err := y.Read(buf)
			got = append(got, buf[:n]...)
			if len(got) > i*50_000 {
				switch i % 3 {
				case 0:
					a.Reset()
				case 1:
					b.Reset()
				case 2:
					a.Close()
				}
			}
			if err != nil {
				break
			}
		}
		b.Reset()
		done.Wait()
		a.Close()
		if !bytes.Equal(got, want[:len(got)]) {
			t.Fatalf("round %d: other bytes came out within the first %d", i, len(got))
		}
	}
	noisy.Reset()
	noise.Reset()
	wg.Wait()
}

// TestCopyLimits keeps io.CopyN exact, which reads through an io.LimitedReader.
func TestCopyLimits(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	x, y := kernelPair(t, "tcp")
	want := pattern(100_000)
	y.Write(want[:50_000])
	if n, err := io.CopyN(a, x, 30_000); n != 30_000 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := io.CopyN(a, x, 20_000); n != 20_000 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	x.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := io.CopyN(a, x, 1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the socket's deadline: %v", err)
	}
	y.(*net.TCPConn).SetLinger(0)
	y.Close()
	x.SetReadDeadline(time.Time{})
	if _, err := io.Copy(a, x); !errors.Is(err, errno.reset) {
		t.Errorf("the socket's reset: %v", err)
	}
	a.Close()
	if got, err := io.ReadAll(b); !bytes.Equal(got, want[:50_000]) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	b.Close()
}

// TestReadFromSendsBeforeItWaits gives a reader that stalls to ReadFrom.
func TestReadFromSendsBeforeItWaits(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	pr, pw := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { b.ReadFrom(pr) })
	for _, msg := range []string{"one", "two", "three"} {
		b.Write(nil)
		pw.Write([]byte(msg))
		buf := make([]byte, len(msg))
		if _, err := io.ReadFull(a, buf); string(buf) != msg || err != nil {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	pw.Close()
	wg.Wait()
	b.Close()
	a.Close()
}

func TestPeekDiscard(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	go func() { // ends with its last write
		for _, c := range []byte("a protocol that tells by its first bytes") {
			b.Write([]byte{c})
			b.Flush()
		}
		b.CloseWrite()
	}()
	buf := make([]byte, 10)
	for range 2 {
		if n, err := a.Peek(buf); string(buf[:n]) != "a protocol" || err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	if n, err := a.Discard(2); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := a.Peek(buf[:8]); string(buf[:n]) != "protocol" || err != nil {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	long := make([]byte, 1000)
	if n, err := a.Peek(long); string(long[:n]) != "protocol that tells by its first bytes" || err != io.EOF {
		t.Fatalf("%q, %v", long[:n], err)
	}
	if n, err := a.Peek(make([]byte, 1<<20)); n != 38 || err != io.EOF {
		t.Fatalf("%d, %v", n, err)
	}
	if got, err := io.ReadAll(a); string(got) != "protocol that tells by its first bytes" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if n, err := a.Discard(1); n != 0 || err != io.EOF {
		t.Fatalf("%d, %v", n, err)
	}
	a.Close()
	b.Close()

	a, b = r.pair()
	if err := a.SetReadBuffer(64 << 10); err != nil { // it does not grow
		t.Fatal(err)
	}
	b.Write(make([]byte, 20_000))
	if n, err := a.Peek(make([]byte, 30_000)); n < 16<<10 || !errors.Is(err, bufio.ErrBufferFull) {
		t.Errorf("more than fits: %d, %v", n, err)
	}
	a.Reset()
}

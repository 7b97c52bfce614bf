package stack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"l3extract/l3conn"
)

// pump writes n pseudo-random bytes and closes its side; drain reads to the end.
// Both return the hash.
func pump(t testing.TB, c net.Conn, n int, seed byte) [32]byte {
	h := sha256.New()
	r := rand.NewChaCha8([32]byte{seed})
	buf := make([]byte, 32<<10)
	for n > 0 {
		b := buf[:min(n, len(buf))]
		_, _ = r.Read(b)
		h.Write(b)
		if _, err := c.Write(b); err != nil {
			t.Errorf("write: %v", err)
			break
		}
		n -= len(b)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
	return [32]byte(h.Sum(nil))
}

func drain(t testing.TB, c net.Conn) [32]byte {
	h := sha256.New()
	if _, err := io.Copy(h, c); err != nil {
		t.Errorf("read: %v", err)
	}
	return [32]byte(h.Sum(nil))
}

// bothWays moves n bytes each way at once and compares hashes.
func bothWays(t testing.TB, a, b net.Conn, n int) {
	var wg sync.WaitGroup
	var sentA, sentB, gotA, gotB [32]byte
	wg.Go(func() { sentA = pump(t, a, n, 1) })
	wg.Go(func() { sentB = pump(t, b, n, 2) })
	wg.Go(func() { gotA = drain(t, a) })
	wg.Go(func() { gotB = drain(t, b) })
	wg.Wait()
	if sentA != gotB || sentB != gotA {
		t.Error("what arrived is not what was sent")
	}
}

// TestNarrowPipe: two stacks over a pipe of 4 packets that blocks its writers,
// with bulk both ways and SYNs to closed ports both ways, never stall: no reader
// waits for a writer.
func TestNarrowPipe(t *testing.T) {
	x, y := l3conn.Pipe(4, 0)
	c, s := pairOn(t, x, y, Config{}, Config{})
	a, b, err := connect(c, s)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	// The server's acceptor is asked; close it, so that SYNs are refused.
	_ = s.TCP().Close()
	for _, d := range []struct {
		from *Stack
		to   string
	}{{c, "10.0.0.1:9"}, {s, "10.0.0.2:9"}} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := d.from.DialContext(soon(t), "tcp", d.to); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("dial to a closed port: %v", err)
					return
				}
			}
		})
	}
	bothWays(t, a, b, 16<<20)
	close(stop)
	wg.Wait()
	if n := c.Stats().Drops["data_queue_full"] + s.Stats().Drops["data_queue_full"]; n != 0 {
		t.Errorf("%d data packets dropped by the transmit queue", n)
	}
}

// TestManyDestinations: streams to many addresses of both families carry data.
func TestManyDestinations(t *testing.T) {
	c, s := pair(t, Config{}, Config{})
	streams := s.TCP().Streams()
	go func() {
		for st := range streams {
			go func() {
				_, _ = io.Copy(st, st)
				_ = st.Close()
			}()
		}
	}()
	want := bytes.Repeat([]byte("echo"), 1000)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			to := netip.AddrFrom4([4]byte{198, 51, byte(i), 7})
			if i%2 == 1 {
				to = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
			}
			conn, err := c.DialContext(soon(t), "tcp", netip.AddrPortFrom(to, 7).String())
			if err != nil {
				t.Errorf("%v: %v", to, err)
				return
			}
			defer conn.Close()
			go func() {
				_, _ = conn.Write(want)
				_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: echo of %d bytes, %v", to, len(got), err)
			}
		})
	}
	wg.Wait()
}

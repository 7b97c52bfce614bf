package forward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

// hole returns the address of a listener whose queue is full: a SYN to it is dropped.
func hole(t *testing.T) net.Addr {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port)))
	for range 2 { // a backlog of 0 holds one, and the kernel one more
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			break
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return addr
}

// TestLoopDialEnds: a dial that the loop has begun ends when its time is over, when its
// stream is killed, and when Serve ends.
func TestLoopDialEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		timeout time.Duration
		end     func(r *rig)
		cause   error
	}{
		{"time", 50 * time.Millisecond, func(*rig) {}, stack.DialFailed},
		{"kill", -1, func(r *rig) {
			for f := range r.server.Flows() {
				r.server.Kill(f.ID, stack.Evicted)
			}
		}, stack.Evicted},
		{"serve", -1, func(r *rig) { r.cancel(nil) }, stack.Ended},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := &Server{DialTimeout: tc.timeout}
			var dials sync.Map
			srv.OnDial = func(d Dial) { dials.Store(d.ID, d) }
			r := newRig(t, srv, stack.Config{TCP: lazy})
			addr := r.front("203.0.113.1:80", hole(t))
			ctx, cancel := context.WithCancel(t.Context())
			var client sync.WaitGroup
			client.Go(func() { _, _ = r.client.DialContext(ctx, "tcp", addr) })
			defer client.Wait()
			defer cancel()
			wait(t, "the dial to begin", func() bool { return srv.Stats().Dials == 1 })
			if tc.timeout < 0 && srv.Stats().Dialing != 1 {
				t.Fatalf("the hole answers: %+v", srv.Stats())
			}
			tc.end(r)
			wait(t, "the dial to end", func() bool { return srv.Stats().Dialing == 0 })
			if got := r.causes("tcp", 1); !errors.Is(got[0], tc.cause) {
				t.Errorf("the flow ended with %v, want %v", got[0], tc.cause)
			}
			n := 0
			dials.Range(func(_, d any) bool {
				n++
				if d.(Dial).Err == nil || d.(Dial).Address == "" {
					t.Errorf("told of %+v", d)
				}
				return true
			})
			if n != 1 {
				t.Errorf("told of %d dials, want 1", n)
			}
		})
	}
}

// TestSlowEnds: an end that takes nothing for a while stops the other, and loses
// nothing.
func TestSlowEnds(t *testing.T) { eachWay(t, testSlowEnds) }

func testSlowEnds(t *testing.T) {
	const size = 12 << 20 // more than all buffers in between
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(body)
	want := sha256.Sum256(body)
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	for i, addr := range []string{"198.51.100.7:80", "198.51.100.7:81"} {
		c, up := r.joined(addr)
		var from, to interface {
			net.Conn
			CloseWrite() error
		} = c, up
		if i == 1 {
			from, to = to, from
		}
		var wrote sync.WaitGroup
		wrote.Go(func() {
			if _, err := from.Write(body); err != nil {
				t.Error(err)
			}
			_ = from.CloseWrite()
		})
		wait(t, "the buffers to fill", func() bool {
			for f := range r.server.Flows() {
				if f.Source.String() == c.LocalAddr().String() {
					return f.In > 16<<10 || c.Info().Unread > 16<<10
				}
			}
			return false
		})
		h := sha256.New()
		if _, err := io.Copy(h, to); err != nil {
			t.Fatal(err)
		}
		wrote.Wait()
		if got := h.Sum(nil); !bytes.Equal(got, want[:]) {
			t.Errorf("%s: another body arrived", addr)
		}
	}
}

// TestNarrowConn: a packet conn that takes less than the server sends stalls the loop's
// pairs, and nothing else.
func TestNarrowConn(t *testing.T) { eachWay(t, testNarrowConn) }

func testNarrowConn(t *testing.T) {
	body := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{6}).Read(body)
	x, y := l3conn.Pipe(4, 0)
	r := newRigOn(t, x, y, &Server{}, stack.Config{TCP: lazy})
	var all sync.WaitGroup
	for i := range 8 {
		addr := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(80+i)).String()
		c, up := r.joined(addr)
		all.Go(func() {
			_, _ = up.Write(body)
			_ = up.CloseWrite()
		})
		all.Go(func() {
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: %d bytes, %v", addr, len(got), err)
			}
		})
	}
	all.Wait()
}

// TestPending: bytes that the engine had no room for go first.
func TestPending(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	c, up := r.joined("198.51.100.7:80")
	echo(t, c, up)
	p := r.relayed().(*pair)
	p.down.Lock()
	p.pending = []byte("first ")
	p.down.Unlock()
	if _, err := up.Write([]byte("second")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "first second" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestStorm: ends of all kinds, at any moment, leave no flow, no relay and no
// descriptor, and no byte of another connection.
func TestStorm(t *testing.T) { eachWay(t, testStorm) }

func testStorm(t *testing.T) {
	rounds := 400
	if testing.Short() || raced {
		rounds = 100
	}
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	l := r.listen("198.51.100.7:80")
	// abuse does to c what its first byte says.
	abuse := func(c interface {
		net.Conn
		CloseWrite() error
	}, kind byte) {
		mine := bytes.Repeat([]byte{kind}, 1000)
		_, _ = c.Write(mine)
		switch kind % 4 {
		case 0:
			_ = c.CloseWrite()
			b, _ := io.ReadAll(c)
			if len(b) > 0 && len(bytes.Trim(b, string(b[:1]))) > 0 {
				t.Errorf("bytes of two connections: %q", b[:min(20, len(b))])
			}
		case 1:
			if s, ok := c.(*tcp.Stream); ok {
				_ = s.Reset()
			} else {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		case 2:
			_, _ = c.Read(mine)
		}
		_ = c.Close()
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				_ = c.SetDeadline(time.Now().Add(patience))
				b := make([]byte, 1)
				if _, err := io.ReadFull(c, b); err == nil {
					abuse(c.(*net.TCPConn), b[0]/4)
				} else {
					_ = c.Close()
				}
			})
		}
	})
	c, up := r.joined("198.51.100.8:80") // whatever is opened once
	echo(t, c, up)
	_, _ = c.Close(), up.Close()
	wait(t, "the first to end", func() bool { return r.server.Stats().Flows == 0 })
	before := descriptors()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := w; i < rounds; i += 8 {
				c, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
				if err != nil {
					if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
						t.Error(err)
					}
					continue
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				abuse(c.(*tcp.Stream), byte(i%16))
			}
		})
	}
	all.Wait()
	wait(t, "everything to end", func() bool {
		return r.fwd.Stats().Relays == 0 && r.server.Stats().Flows == 0 && r.client.Stats().Flows == 0
	})
	_ = l.Close()
	served.Wait()
	wait(t, "descriptors to be closed", func() bool { return descriptors() < before })
}

// TestKillAtDial: a stream that ends while OnDial is told of its dial takes its pair
// along.
func TestKillAtDial(t *testing.T) { eachWay(t, testKillAtDial) }

func testKillAtDial(t *testing.T) {
	srv := &Server{}
	var r *rig
	srv.OnDial = func(d Dial) {
		r.server.Kill(d.ID, stack.Evicted)
		wait(t, "the flow to end", func() bool { return r.server.Stats().Flows == 0 })
	}
	r = newIdleRig(t, srv, stack.Config{TCP: lazy})
	l := r.listen("198.51.100.7:80")
	_, served := r.serve()
	if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80"); err == nil {
		t.Error("the client is connected")
	}
	up, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	_ = up.SetReadDeadline(time.Now().Add(patience))
	if _, err := up.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server reads %v", err)
	}
	_ = r.server.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestUrgentData: bytes behind an urgent one, at which a read stops, need no further
// bytes to be passed on. The urgent one itself is not, as through any proxy.
func TestUrgentData(t *testing.T) { eachWay(t, testUrgentData) }

func testUrgentData(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	c, up := r.joined("198.51.100.7:80")
	echo(t, c, up)
	raw, err := up.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	for range 50 {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1)
			_ = unix.Send(int(fd), []byte("abc"), 0)
			_ = unix.Send(int(fd), []byte("!"), unix.MSG_OOB)
			_ = unix.Send(int(fd), []byte("defg"), 0)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 0)
		})
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "abcdefg" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// TestCutAtTheEnd: the last server resets with bytes for its client under way, while
// Serve has nothing else to wait for.
func TestCutAtTheEnd(t *testing.T) { eachWay(t, testCutAtTheEnd) }

func testCutAtTheEnd(t *testing.T) {
	for range 20 {
		r := newRig(t, &Server{}, stack.Config{TCP: lazy})
		_, up := r.joined("198.51.100.7:80")
		_ = r.server.TCP().Close()
		_ = r.server.UDP().Close()
		_ = r.server.ICMP().Close()
		_ = up.SetLinger(0)
		_, _ = up.Write(make([]byte, 3000))
		_ = up.Close()
		if err := <-r.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

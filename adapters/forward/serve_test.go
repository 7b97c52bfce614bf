package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

// TestIdle: the sweep ends relays on which nothing has moved for IdleTimeout, or
// for HalfCloseTimeout since one direction ended, and no others.
func TestIdle(t *testing.T) { eachWay(t, testIdle) }

func testIdle(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(map[bool]string{false: "open", true: "half closed"}[half], func(t *testing.T) {
			r := newRig(t, &Server{IdleTimeout: time.Hour, HalfCloseTimeout: time.Minute}, stack.Config{TCP: lazy})
			c, up := r.joined("198.51.100.7:80")
			limit := time.Hour
			now := time.Now()
			sweep := func(d time.Duration) {
				now = now.Add(d)
				r.work.sweep(now)
				if got := r.fwd.Stats().Idle; got != 0 {
					t.Fatalf("ended after %v", d)
				}
			}
			sweep(0) // begins to count
			sweep(limit - 1)
			echo(t, c, up) // begins anew, at the next sweep
			sweep(1)
			sweep(limit - 1)
			if half {
				limit = time.Minute
				_ = up.CloseWrite()
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Fatalf("read: %v, want EOF", err)
				}
				wait(t, "the half-close to be noted", func() bool { return r.relayed().halved() })
				sweep(time.Hour) // begins anew
				sweep(limit - 1)
			}
			r.work.sweep(now.Add(1))
			r.wantCause("tcp", stack.Idle)
			if got := r.fwd.Stats().Idle; got != 1 {
				t.Errorf("%d ended, want 1", got)
			}
			_ = up.SetReadDeadline(time.Now().Add(patience))
			if _, err := up.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("upstream read: %v, want ECONNRESET", err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 1)); !half && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("client read: %v, want ECONNRESET", err)
			}
		})
	}
}

// relayed returns the one relay.
func (r *rig) relayed() interface{ halved() bool } {
	for _, e := range r.work.all() {
		return e.(interface{ halved() bool })
	}
	r.t.Fatal("no relay")
	return nil
}

// TestFirstClients: who comes in the moment in which Serve begins is not refused.
func TestFirstClients(t *testing.T) { eachWay(t, testFirstClients) }

func testFirstClients(t *testing.T) {
	for name, cfg := range map[string]tcp.Config{"lazy": lazy, "eager": {}} {
		t.Run(name, func(t *testing.T) {
			r := newIdleRig(t, &Server{}, stack.Config{TCP: cfg})
			l := r.listen("198.51.100.7:80")
			dialled := make(chan error, 1)
			go func() { // awaited below
				c, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
				if err == nil {
					_ = c.Close()
				}
				dialled <- err
			}()
			wait(t, "the SYN", func() bool { return r.server.Stats().Flows > 0 })
			r.echoUDP("198.51.100.7:53", "udp4", "127.0.0.1:0")
			q, err := r.client.DialContext(soon(t), "udp", "198.51.100.7:53")
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			if _, err := q.Write([]byte("first")); err != nil {
				t.Fatal(err)
			}
			wait(t, "the datagram", func() bool { return r.server.Stats().Flows > 1 })

			r.cancel, r.served = r.serve()
			if err := <-dialled; err != nil {
				t.Error("TCP: ", err)
			}
			_ = l.SetDeadline(time.Now().Add(patience))
			if up, err := l.Accept(); err != nil {
				t.Error("upstream: ", err)
			} else {
				_ = up.Close()
			}
			_ = q.SetReadDeadline(time.Now().Add(patience))
			b := make([]byte, 16)
			if n, err := q.Read(b); err != nil || string(b[:n]) != "first" {
				t.Errorf("UDP: %q, %v", b[:n], err)
			}
		})
	}
}

// TestSweepPeriod: nothing outlives its timeout by more than an eighth, or 30 s.
func TestSweepPeriod(t *testing.T) {
	for _, tc := range []struct {
		idle, half, want time.Duration
	}{
		{0, 0, 30 * time.Second},
		{time.Second, 0, time.Second / 8},
		{time.Hour, time.Second, time.Second / 8},
		{-1, time.Second, time.Second / 8},
		{time.Second, -1, time.Second / 8},
		{-1, -1, 0},
	} {
		srv := &Server{IdleTimeout: tc.idle, HalfCloseTimeout: tc.half}
		s, err := stack.New(l3conn.Funcs{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := srv.newSession(s).sweepPeriod(); got != tc.want {
			t.Errorf("idle %v, half %v: %v, want %v", tc.idle, tc.half, got, tc.want)
		}
		_ = s.Close()
	}
}

// TestServeEnds: with its context, with the stack, and when the stack is shut
// down, each time with the flows' causes.
func TestServeEnds(t *testing.T) { eachWay(t, testServeEnds) }

func testServeEnds(t *testing.T) {
	because := errors.New("because")
	for _, tc := range []struct {
		name  string
		end   func(*rig)
		want  error
		cause stack.Cause
	}{
		{"context", func(r *rig) { r.cancel(because) }, because, stack.Ended},
		{"stack", func(r *rig) { _ = r.server.Close() }, nil, stack.Ended},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dialling := make(chan struct{})
			var real net.Dialer
			srv := &Server{Dialer: dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == "203.0.113.1:80" {
					close(dialling)
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return real.DialContext(ctx, network, address)
			}), PacketListener: new(net.ListenConfig)}
			r := newRig(t, srv, stack.Config{TCP: lazy})
			c, up := r.joined("198.51.100.7:80")
			echo(t, c, up)
			pc := r.echoUDP("198.51.100.7:53", "udp4", "127.0.0.1:0")
			r.ask("198.51.100.7:53", "hello", "hello")
			_ = pc
			go func() {
				if c, err := r.client.DialContext(soon(t), "tcp", "203.0.113.1:80"); err == nil {
					_ = c.Close()
				}
			}()
			<-dialling
			tc.end(r)
			select {
			case err := <-r.served:
				if !errors.Is(err, tc.want) {
					t.Errorf("Serve returned %v, want %v", err, tc.want)
				}
			case <-time.After(patience):
				t.Fatal("Serve does not return")
			}
			_ = up.SetReadDeadline(time.Now().Add(patience))
			if _, err := up.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || err == io.EOF {
				t.Errorf("upstream read: %v, want a reset", err)
			}
			for _, cause := range append(r.causes("tcp", 2), r.causes("udp", 1)...) {
				if !errors.Is(cause, tc.cause) {
					t.Errorf("cause %v, want %v", cause, tc.cause)
				}
			}
		})
	}
}

// TestManyConnections: of 1000 connections, 50 at once, no goroutine and no
// descriptor is left.
func TestManyConnections(t *testing.T) { eachWay(t, testManyConnections) }

func testManyConnections(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	l := r.listen("198.51.100.7:80")
	var accepted sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Go(func() {
				// Not io.Copy, which keeps pipes for splice.
				b := make([]byte, 1)
				for {
					n, err := c.Read(b)
					if _, werr := c.Write(b[:n]); err != nil || werr != nil {
						break
					}
				}
				_ = c.Close()
			})
		}
	}()
	one := func() error {
		c, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
		for errors.Is(err, syscall.ECONNREFUSED) {
			// A port that was used a moment ago: the other stack has not handled the
			// last segment of that connection yet.
			c, err = r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
		}
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		b := []byte("x")
		if _, err := c.Write(b); err != nil {
			return err
		}
		_, err = io.ReadFull(c, b)
		return err
	}
	if err := one(); err != nil { // whatever is started once
		t.Fatal(err)
	}
	gone := func() bool {
		st := r.fwd.Stats()
		return st.Relays == 0 && r.server.Stats().Flows == 0 && r.client.Stats().Flows == 0
	}
	wait(t, "the first to end", gone)
	fds, routines := descriptors(), runtime.NumGoroutine()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				if err := one(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	wait(t, "all to end", gone)
	wait(t, "goroutines and descriptors to go", func() bool {
		return runtime.NumGoroutine() <= routines && descriptors() <= fds
	})
	for _, cause := range r.causes("tcp", 1001) {
		if !errors.Is(cause, stack.Closed) {
			t.Errorf("a flow ended with %v", cause)
		}
	}
	_ = l.Close()
	<-done
	accepted.Wait()
}

// descriptors counts the process's open files, 0 where that cannot be seen.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

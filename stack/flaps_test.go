package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/l3conn/carrier"
	"l3extract/l3conn/framed"
)

var flaps = flag.Duration("flaps", 3*time.Second, "how long TestFlaps lets the carrier come and go")

// TestFlaps cuts the carrier of two Stacks again and again while flows come and go and
// one stays: none is lost, none is changed, and nothing is left behind. -flaps 30m for a
// long one.
func TestFlaps(t *testing.T) {
	before := runtime.NumGoroutine()
	far, err := carrier.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var present atomic.Pointer[net.TCPConn]
	near, err := carrier.New(&carrier.Config{MaxBackoff: 200 * time.Millisecond, Dial: func(ctx context.Context) (l3conn.Conn, error) {
		var d net.Dialer
		stream, err := d.DialContext(ctx, "tcp", listener.Addr().String())
		if err != nil {
			return nil, err
		}
		present.Store(stream.(*net.TCPConn))
		return framed.New(stream, &framed.Config{Keepalive: time.Second})
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	var all sync.WaitGroup
	all.Go(func() { // ends with the listener
		for {
			stream, err := listener.Accept()
			if err != nil {
				return
			}
			conn, err := framed.New(stream, &framed.Config{Keepalive: time.Second})
			if err == nil && far.Replace(conn) != nil {
				conn.Close()
			}
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	all.Go(func() { // ends with near
		if err := near.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	client, server, end, err := stacks(near, far, Config{})
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() { // echoes until the Stack ends
		for st := range server.TCP().Streams() {
			all.Go(func() {
				_, _ = io.Copy(st, st)
				_ = st.Close()
			})
		}
	})

	deadline := time.Now().Add(*flaps)
	var flows sync.WaitGroup
	var done, echoed atomic.Uint64
	for worker := range 4 {
		flows.Go(func() { // short flows, one after the other
			for i := 0; time.Now().Before(deadline); i++ {
				if err := echo(client, 1+rand.IntN(200<<10), byte(worker)); err != nil {
					t.Errorf("a flow was lost: %v", err)
					return
				}
				done.Add(1)
			}
		})
	}
	flows.Go(func() { // one that lasts
		c, err := client.DialContext(ctx, "tcp", "198.51.100.7:80")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		b := make([]byte, 8)
		for i := uint64(0); time.Now().Before(deadline); i++ {
			binary.BigEndian.PutUint64(b, i)
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := c.Write(b); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(c, b); err != nil || binary.BigEndian.Uint64(b) != i {
				t.Errorf("echo %d: %v", i, err)
				return
			}
			echoed.Add(1)
			time.Sleep(5 * time.Millisecond) // a pace, not a wait
		}
	})
	cuts := 0
	for time.Now().Before(deadline) {
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond) // the carriers' lives
		if stream := present.Load(); stream != nil {
			if rand.IntN(2) == 0 {
				_ = stream.SetLinger(0) // as when a middlebox resets
			}
			_ = stream.Close()
			cuts++
		}
	}
	flows.Wait()
	s := near.Stats()
	t.Logf("%d cuts, %d carriers, %v without one; %d short flows, %d echoes of one; %d writes waited, %d packets lost for want of a carrier",
		cuts, s.Carriers, s.DownFor.Round(time.Millisecond), done.Load(), echoed.Load(), s.Waits, s.Lost)
	if done.Load() == 0 || echoed.Load() == 0 || s.Losses == 0 {
		t.Error("nothing happened")
	}
	if s.Lost > 0 {
		t.Error("packets were lost although the carrier was back within the wait")
	}
	end()
	stop()
	near.Close()
	far.Close()
	listener.Close()
	all.Wait()
	for give := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(give) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

// echo sends n bytes and wants them back.
func echo(s *Stack, n int, seed byte) error {
	ctx, cancel := context.WithTimeout(background, 20*time.Second)
	defer cancel()
	c, err := s.DialContext(ctx, "tcp", "198.51.100.7:80")
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make(chan error, 1)
	go func() { // ends with the flow, awaited below
		r := rand.NewChaCha8([32]byte{seed})
		_, err := io.CopyN(c, r, int64(n))
		sent <- errors.Join(err, c.(interface{ CloseWrite() error }).CloseWrite())
	}()
	same := &comparer{want: rand.NewChaCha8([32]byte{seed})}
	got, err := io.Copy(same, c)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if got != int64(n) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// comparer fails at the first byte that is another.
type comparer struct {
	want io.Reader
	buf  [4096]byte
}

func (c *comparer) Write(p []byte) (int, error) {
	for at := 0; at < len(p); {
		want := c.buf[:min(len(p)-at, len(c.buf))]
		_, _ = io.ReadFull(c.want, want) // a generator
		for i, b := range want {
			if p[at+i] != b {
				return at + i, errors.New("another byte came back")
			}
		}
		at += len(want)
	}
	return len(p), nil
}

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
	line := newFlapping(t)
	client, server, end, err := stacks(line.near, line.far, Config{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
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
		c, err := client.DialContext(background, "tcp", "198.51.100.7:80")
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
		line.cut(rand.IntN(2) == 0)
		cuts++
	}
	flows.Wait()
	s := line.near.Stats()
	t.Logf("%d cuts, %d carriers, %v without one; %d short flows, %d echoes of one; %d writes waited, %d packets lost for want of a carrier",
		cuts, s.Carriers, s.DownFor.Round(time.Millisecond), done.Load(), echoed.Load(), s.Waits, s.Lost)
	if done.Load() == 0 || echoed.Load() == 0 || s.Losses == 0 {
		t.Error("nothing happened")
	}
	if s.Lost > 0 {
		t.Error("packets were lost although the carrier was back within the wait")
	}
	end()
	line.close()
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

// TestBulkThroughCuts: bulk goes on after every cut, although all that was under way is
// lost. RACK, as the engine has it, sends two packets per time-out after that, hence
// SACK.
func TestBulkThroughCuts(t *testing.T) {
	line := newFlapping(t)
	defer line.close()
	client, server, end, err := stacks(line.near, line.far, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	a, b, err := connect(client, server)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.SetReadDeadline(time.Now().Add(time.Minute))
	const piece, cuts = 2 << 20, 5
	sent := make(chan error, 1)
	go func() { // ends with its pieces, awaited below
		r, buf := rand.NewChaCha8([32]byte{7}), make([]byte, piece)
		for range cuts + 1 {
			_, _ = r.Read(buf)
			if _, err := b.Write(buf); err != nil {
				sent <- err
				return
			}
		}
		sent <- b.Close()
	}()
	same := &comparer{want: rand.NewChaCha8([32]byte{7})}
	for i := range cuts + 1 {
		if _, err := io.CopyN(same, a, piece); err != nil {
			t.Fatal(err)
		}
		if i < cuts {
			line.cut(true)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if s := line.near.Stats(); s.Losses == 0 || s.Lost > 0 {
		t.Errorf("%+v", s)
	}
}

// flapping is two Conns between which carriers are dialled, and cut.
type flapping struct {
	t         testing.TB
	near, far *carrier.Conn
	listener  net.Listener
	present   atomic.Pointer[net.TCPConn]
	all       sync.WaitGroup
}

func newFlapping(t testing.TB) *flapping {
	t.Helper()
	f := &flapping{t: t}
	var err error
	if f.far, err = carrier.New(nil); err != nil {
		t.Fatal(err)
	}
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if f.near, err = carrier.New(&carrier.Config{MaxBackoff: 200 * time.Millisecond, Dial: f.dial}); err != nil {
		t.Fatal(err)
	}
	f.all.Go(func() { // ends with the listener
		for {
			stream, err := f.listener.Accept()
			if err != nil {
				return
			}
			conn, err := framed.New(stream, &framed.Config{Keepalive: time.Second})
			if err == nil && f.far.Replace(conn) != nil {
				conn.Close()
			}
		}
	})
	f.all.Go(func() { // ends with near
		if err := f.near.Run(background); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *flapping) dial(ctx context.Context) (l3conn.Conn, error) {
	var d net.Dialer
	stream, err := d.DialContext(ctx, "tcp", f.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	f.present.Store(stream.(*net.TCPConn))
	return framed.New(stream, &framed.Config{Keepalive: time.Second})
}

// cut ends the carrier of the day, by a reset as from a middlebox or in good order.
func (f *flapping) cut(reset bool) {
	if stream := f.present.Load(); stream != nil {
		if reset {
			_ = stream.SetLinger(0)
		}
		_ = stream.Close()
	}
}

func (f *flapping) close() {
	f.near.Close()
	f.far.Close()
	f.listener.Close()
	f.all.Wait()
}

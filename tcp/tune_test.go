package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"l3extract/internal/budget"
)

// TestBuffersGrow moves bulk data both ways: the buffers grow as the Config allows,
// out of the budget, and everything is given back.
func TestBuffersGrow(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cfg    Config
		memory int64
		grown  func(receive, send int) bool
	}{
		{"default", Config{}, 0, func(r, s int) bool { return r > 128<<10 && s > 64<<10 && r <= 4<<20 && s <= 4<<20 }},
		{"bounded", Config{MaxReceiveBuffer: 200_000, MaxSendBuffer: 100_000}, 0,
			func(r, s int) bool { return r == 200_000 && s == 100_000 }},
		{"off", Config{MaxReceiveBuffer: -1, MaxSendBuffer: -1}, 0,
			func(r, s int) bool { return r == 64<<10 && s == 64<<10 }},
		{"tight", Config{}, 400 << 10, func(r, s int) bool { return r <= 256<<10 && s <= 256<<10 }},
		{"full", Config{}, -1, func(r, s int) bool { return r == 8<<10 && s == 8<<10 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRigLimit(t, tc.cfg, tc.memory)
			if tc.memory < 0 {
				r = newRigTight(t, tc.cfg)
			}
			a, b := r.pair()
			var wg sync.WaitGroup
			wg.Go(func() { io.Copy(io.Discard, struct{ io.Reader }{a}) })
			size := 16 << 20
			if tc.memory != 0 {
				size = 2 << 20
			}
			if _, err := b.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			b.CloseWrite()
			wg.Wait()
			receive, send := a.Info().Receive, b.Info().Send
			if !tc.grown(receive, send) {
				t.Errorf("receive buffer %d, send buffer %d", receive, send)
			}
			for _, s := range []*Stream{a, b} {
				i, u := s.Info(), s.env.Budget.Snapshot()
				promised := int64(max(i.Receive-budget.StartSize, 0) + max(i.Send-budget.StartSize, 0))
				if u.Promised != promised || u.Receive != 0 || u.Flow != budget.StreamCost || u.WriteBuffer != 0 {
					t.Errorf("the budget says %+v, buffers are %d and %d", u, i.Receive, i.Send)
				}
			}
			a.Close()
			b.Close()
		})
	}
}

// TestNoMemoryForWriteBuffer writes without one.
func TestNoMemoryForWriteBuffer(t *testing.T) {
	r := newRigTight(t, Config{})
	a, b := r.pair()
	r.b.env.Budget.Hold(budget.Datagram, 2<<20-10<<10) // no room for a buffer of 16 KiB
	go func() {                                        // ends with its Close
		for range 10_000 {
			b.Write(make([]byte, 10))
		}
		b.Close()
	}()
	if n, err := io.Copy(io.Discard, a); n != 100_000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	a.Close()
	if u := r.b.env.Budget.Snapshot(); u.Refused == 0 {
		t.Error("nothing was refused")
	}
}

func TestOptions(t *testing.T) {
	r := newRigLimit(t, Config{KeepAlive: time.Minute, UserTimeout: time.Minute, HopLimit: 9, TrafficClass: 4, Congestion: Cubic}, 4<<20)
	for range 2 { // IPv4 and IPv6
		a, b := r.pair()
		for name, err := range map[string]error{
			"SetNoDelay":           a.SetNoDelay(false),
			"SetKeepAlive":         a.SetKeepAlive(true),
			"SetKeepAlivePeriod":   a.SetKeepAlivePeriod(time.Second),
			"SetKeepAliveConfig":   a.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}),
			"SetUserTimeout":       a.SetUserTimeout(time.Minute),
			"SetHopLimit":          a.SetHopLimit(3),
			"SetTOS":               a.SetTOS(0x10),
			"SetLinger":            a.SetLinger(-1),
			"SetReadBuffer":        a.SetReadBuffer(100_000),
			"SetReadBuffer down":   a.SetReadBuffer(50_000),
			"SetWriteBuffer":       a.SetWriteBuffer(200_000),
			"SetDeadline":          a.SetDeadline(time.Time{}),
			"SetReadBuffer tiny":   b.SetReadBuffer(0),
			"SetWriteBuffer small": b.SetWriteBuffer(1),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if i := a.Info(); i.Receive != 50_000 || i.Send != 200_000 {
			t.Errorf("buffers %d and %d", i.Receive, i.Send)
		}
		for name, err := range map[string]error{
			"SetReadBuffer":  a.SetReadBuffer(8 << 20),
			"SetWriteBuffer": a.SetWriteBuffer(8 << 20),
		} {
			if !errors.Is(err, syscall.ENOBUFS) {
				t.Errorf("%s beyond the memory limit: %v", name, err)
			}
		}
		if err := a.SetHopLimit(0); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("hop limit 0: %v", err)
		}
		a.Reset()
		b.Reset()
	}
}

// TestCongestion holds writers while the packet conn is behind; reading, closing and
// deadlines go on.
func TestCongestion(t *testing.T) {
	r := newRig(t, Config{})
	j := &r.b.jam
	for _, tc := range []struct {
		name string
		call func(s *Stream) error
	}{
		{"Write", func(s *Stream) error { _, err := s.Write([]byte("x")); return err }},
		{"big Write", func(s *Stream) error { _, err := s.Write(make([]byte, 100_000)); return err }},
		{"ReadFrom", func(s *Stream) error { _, err := s.ReadFrom(endless{}); return err }},
		{"Flush", func(s *Stream) error { return s.Flush() }},
	} {
		a, b := r.pair()
		j.set(true)
		b.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if err := tc.call(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", tc.name, err)
		}
		b.SetWriteDeadline(time.Time{})
		before := j.asked.Load()
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(io.Discard, a) })
		wg.Go(func() { tc.call(b) })
		eventually(t, "the call waits", func() bool { return j.asked.Load() > before })
		if tc.name == "Write" {
			j.set(false)
			wg.Go(func() { b.CloseWrite() })
		} else { // none of these needs what the waiting call holds
			b.SetReadDeadline(time.Now().Add(-1))
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: read: %v", tc.name, err)
			}
			b.Close()
			j.set(false)
		}
		wg.Wait()
		a.Close()
		b.Close()
	}
}

// TestManyAtOnce has several readers and writers of one stream, with methods of all
// kinds: every byte is read once.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	var readers, writers sync.WaitGroup
	var in, out atomic.Int64
	for i := range 4 {
		readers.Go(func() {
			for {
				n, err := 0, error(nil)
				switch i {
				case 0:
					n, err = a.Read(make([]byte, 777))
				case 1:
					n, err = a.Discard(13)
				case 2:
					var m int64
					m, err = a.WriteTo(io.Discard)
					if n = int(m); err == nil {
						err = io.EOF
					}
				case 3:
					if _, err = a.Peek(make([]byte, 20)); err == nil {
						n, err = a.Read(make([]byte, 7))
					}
				}
				in.Add(int64(n))
				if err == io.EOF {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		writers.Go(func() {
			for range 300 {
				n, err := 0, error(nil)
				switch i {
				case 0:
					n, err = b.Write(make([]byte, 10))
				case 1:
					n, err = b.Write(make([]byte, 20_000))
				case 2:
					var m int64
					m, err = b.ReadFrom(io.LimitReader(endless{}, 5000))
					n = int(m)
				case 3:
					v := net.Buffers{make([]byte, 3), nil, make([]byte, 17_000), make([]byte, 1)}
					var m int64
					m, err = b.WriteBuffers(&v)
					if n = int(m); len(v) != 0 {
						t.Errorf("%d buffers left", len(v))
					}
					b.Flush()
				}
				out.Add(int64(n))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	b.Close()
	readers.Wait()
	if in.Load() != out.Load() || out.Load() != int64(b.Info().BytesOut) || in.Load() != int64(a.Info().BytesIn) {
		t.Errorf("%d written, %d read; %+v", out.Load(), in.Load(), a.Info())
	}
	a.Close()
}

// TestIdleSize holds a Stream to what it may cost beyond the engine's endpoint, and
// to no goroutine.
func TestIdleSize(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has sizes of its own")
	}
	if n := unsafe.Sizeof(Stream{}); n > 1024 {
		t.Errorf("a Stream is %d bytes", n)
	}
	r := newRig(t, Config{})
	a, b := r.pair() // whatever the first one costs
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	const n = 200
	streams := make([]*Stream, 0, 2*n)
	for range n {
		x, y := r.pair()
		streams = append(streams, x, y)
		for range 3 { // used once
			x.Write([]byte("ping"))
		}
		io.ReadFull(y, make([]byte, 12))
	}
	eventually(t, "the buffers are empty", func() bool {
		return r.a.env.Budget.Snapshot().WriteBuffer == 0
	})
	each := (heapInUse() - heap) / (2 * n)
	t.Logf("%d bytes each, Stream %d", each, unsafe.Sizeof(Stream{}))
	if each > 8<<10 { // the dialled half of them reserves a port each
		t.Errorf("an idle stream costs %d bytes", each)
	}
	if got := runtime.NumGoroutine(); got > goroutines+n/10 {
		t.Errorf("%d goroutines, before %d", got, goroutines)
	}
	for _, s := range append(streams, a, b) {
		s.Reset()
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAllocs keeps the usual calls free of garbage of ours.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, Config{})
	a, b := r.pair()
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(io.Discard, a) })
	msg := make([]byte, 64)
	if n := testing.AllocsPerRun(10_000, func() { b.Write(msg) }); n > 0 {
		t.Errorf("a small Write allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { b.SetDeadline(time.Now().Add(time.Hour)) }); n > 0 {
		t.Errorf("SetDeadline allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { b.LocalAddr(); b.RemoteAddr(); b.Source(); b.Context() }); n > 0 {
		t.Errorf("accessors allocate %v times", n)
	}
	b.Close()
	wg.Wait()
	a.Close()
	if context.Cause(b.Context()) == nil {
		cause(t, b)
	}
}

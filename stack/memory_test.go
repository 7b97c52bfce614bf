package stack

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/flow"
	"l3extract/l3conn"
	"l3extract/tcp"
)

// fill makes what the budget of s counts so much, by what nobody can end. It is taken
// back at the end of the test.
func fill(t *testing.T, s *Stack, bytes int64) {
	t.Helper()
	n := bytes - s.budget.Snapshot().Used
	s.budget.Hold(budget.Datagram, n)
	t.Cleanup(func() { s.budget.Give(budget.Datagram, n) })
}

// TestStreamsBeginSmall: they do from 80 % of the memory limit on, whoever dials, and
// at the limit dials fail.
func TestStreamsBeginSmall(t *testing.T) {
	const limit = 4 << 20
	c, s := pair(t, Config{MemoryLimit: limit}, Config{MemoryLimit: limit})
	for _, tc := range []struct{ used, size int }{
		{0, budget.StartSize}, {limit * 9 / 10, budget.SmallStartSize},
	} {
		for _, tight := range []*Stack{c, s} {
			if tc.used > 0 {
				fill(t, tight, int64(tc.used))
			}
		}
		a, b, err := connect(c, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range []net.Conn{a, b} {
			if i := end.(*tcp.Stream).Info(); i.Receive != tc.size || i.Send != tc.size {
				t.Errorf("with %d used: buffers of %d and %d", tc.used, i.Receive, i.Send)
			}
			_ = end.Close()
		}
	}
	fill(t, c, limit)
	if _, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, syscall.ENOBUFS) {
		t.Errorf("a dial at the limit: %v", err)
	}
	if m := c.Stats().Memory; m.Refused == 0 {
		t.Errorf("not counted: %+v", m)
	}
}

// TestSYNAtMemoryLimit: a SYN is dropped at the limit, and its client is let in when it
// comes again after memory came back.
func TestSYNAtMemoryLimit(t *testing.T) {
	const limit = 1 << 20
	c, s := pair(t, Config{}, Config{MemoryLimit: limit})
	<-s.started
	s.budget.Hold(budget.Datagram, limit)
	dialled := make(chan error, 1)
	go func() { // ends with its dial
		conn, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80")
		if err == nil {
			err = conn.Close()
		}
		dialled <- err
	}()
	streams := s.TCP().Streams()
	for ctx := soon(t); s.Stats().Drops["memory_limit"] == 0; {
		if ctx.Err() != nil {
			t.Fatalf("no SYN was dropped: %v", s.Stats().Drops)
		}
		time.Sleep(time.Millisecond)
	}
	s.budget.Give(budget.Datagram, limit)
	_ = (<-streams).Close()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}

// hoardFlow is a flow that holds something.
type hoardFlow struct {
	id     FlowID
	source netip.Addr
	bytes  int64
	data   int64
	idle   time.Duration
	killed error
}

func (f *hoardFlow) FlowInfo() Flow   { return Flow{ID: f.id} }
func (f *hoardFlow) Kill(cause error) { f.killed = cause }
func (f *hoardFlow) Held() flow.Held {
	return flow.Held{Own: f.bytes - f.data, Data: f.data, Source: f.source, Moved: nanotime() - int64(f.idle)}
}

// TestVictims: the source that holds most gives way first, and of its flows those that
// hold much for long; what is held for a moment counts by its size alone.
func TestVictims(t *testing.T) {
	fat, slim := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	sec := time.Second
	type held struct {
		source netip.Addr
		bytes  int64
		idle   time.Duration
		victim bool
	}
	for name, tc := range map[string]struct {
		excess int64
		flows  []held
	}{
		"largest first":        {1, []held{{fat, 110, sec, false}, {fat, 130, sec, true}, {fat, 120, sec, false}}},
		"as many as it takes":  {131, []held{{fat, 110, sec, false}, {fat, 130, sec, true}, {fat, 120, sec, true}}},
		"idle longer":          {1, []held{{fat, 110, 9 * sec, true}, {fat, 130, sec, false}}},
		"in use":               {1, []held{{fat, 1100, 0, false}, {fat, 160, 2 * sec, true}}},
		"all in use":           {1, []held{{fat, 1100, 0, true}, {fat, 1099, time.Millisecond, false}}},
		"idle without data":    {1, []held{{fat, 100, 40 * sec, false}, {fat, 200, sec, true}}},
		"idle for ages":        {1, []held{{fat, 100, 300 * sec, true}, {fat, 200, sec, false}}},
		"the fattest source":   {1, []held{{slim, 250, 99 * sec, false}, {fat, 130, sec, true}, {fat, 130, 0, false}}},
		"until it is not":      {200, []held{{slim, 150, sec, true}, {fat, 130, sec, true}, {fat, 129, sec, false}}},
		"everything":           {1000, []held{{slim, 150, sec, true}, {fat, 130, sec, true}, {fat, 130, sec, true}}},
		"nothing that is held": {1000, []held{{slim, 0, sec, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			x, _ := l3conn.Pipe(0, 0)
			s, err := New(x, nil)
			if err != nil {
				t.Fatal(err)
			}
			var all []*hoardFlow
			n, freed := 0, int64(0)
			for i, h := range tc.flows {
				f := &hoardFlow{id: FlowID(i + 1), source: h.source, bytes: h.bytes, data: max(h.bytes-100, 0), idle: h.idle}
				s.flows.Add(f.id, f)
				all = append(all, f)
				if h.victim {
					n++
					freed += h.bytes
				}
			}
			if gotN, got := s.evictFattest(tc.excess); gotN != n || got != freed {
				t.Errorf("%d flows with %d bytes, want %d with %d", gotN, got, n, freed)
			}
			for i, f := range all {
				if victim := tc.flows[i].victim; (f.killed != nil) != victim || victim && !errors.Is(f.killed, Memory) {
					t.Errorf("flow %d: ended with %v", i, f.killed)
				}
				s.flows.Remove(f.id, Flow{})
			}
			if m := s.Stats().Memory; m.Evicted != uint64(n) || m.EvictedBytes != uint64(freed) {
				t.Errorf("counted: %+v", m)
			}
			_ = s.Close()
		})
	}
}

// TestEviction: clients that do not read what they are sent are reset when their data
// reaches the memory limit; the others go on, and everything comes back.
func TestEviction(t *testing.T) {
	const limit = 1 << 20
	for _, shards := range []int{1, 3} {
		tr := newTraced()
		c, s := pair(t, Config{}, Config{MemoryLimit: limit, Trace: tr.trace(), Shards: shards})
		good, live, err := connect(c, s)
		if err != nil {
			t.Fatal(err)
		}
		var all []net.Conn
		for range 32 { // 64 KiB each, at first
			a, b, err := connect(c, s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a, b)
			if err := b.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, _ = b.Write(make([]byte, 1<<20)) // as much as goes
			if used := s.Stats().Memory.Used; used > limit+limit/8 {
				t.Fatalf("%d bytes of %d", used, limit)
			}
			if _, err := live.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(good, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		m := s.Stats().Memory
		if m.Evicted == 0 || m.EvictedBytes < uint64(m.Evicted)*budget.StreamCost {
			t.Errorf("evicted: %+v", m)
		}
		ended := 0
		tr.mu.Lock()
		for _, f := range tr.last {
			if errors.Is(f.Cause, Memory) {
				ended++
			}
		}
		tr.mu.Unlock()
		if ended != int(m.Evicted) {
			t.Errorf("%d flows ended for memory, counted %d", ended, m.Evicted)
		}
		resets := 0
		for i := 0; i < len(all); i += 2 {
			if f := all[i].(*tcp.Stream); f.Context().Err() != nil {
				resets++
			}
		}
		if resets == 0 {
			t.Error("no client was reset")
		}
		for _, end := range append(all, good, live) {
			_ = end.(*tcp.Stream).Reset()
		}
		for ctx := soon(t); s.Stats().Memory.Used != 0; {
			if ctx.Err() != nil {
				t.Fatalf("left: %+v", s.Stats().Memory)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

package udp

import (
	"context"
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
)

// source returns the nth client and one of its ports.
func clientAt(n, port int) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24|uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(port))
}

// A source that floods evicts its own Sockets, least recently used first; a
// quiet source keeps its own.
func TestFloodEvictsItself(t *testing.T) {
	const limit, flood = 100, 1000
	server := families[0].server
	var ended []flow.Info
	r := newRig(t, Config{MaxSockets: limit, AcceptQueue: 2000}, func(e *Env) {
		e.Flows = flow.NewRegistry(flow.Trace{Close: func(i flow.Info) { ended = append(ended, i) }})
	})
	quiet := r.opened(clientAt(1, 1), server)
	for i := range flood {
		r.receive(clientAt(2, 1+i), server, "x")
		if i == 50 {
			r.receive(clientAt(2, 1), server, "x") // so that the first is not the oldest
		}
	}
	if got := r.Stats(); got.Sockets != limit || got.Evicted != flood+1-limit || got.Sources != 2 {
		t.Errorf("%+v", got)
	}
	r.wantDrops(drop.UDPSocketLimit, flood+1-limit)
	if quiet.err() != nil {
		t.Errorf("the quiet source lost its Socket: %v", quiet.Info().Cause)
	}
	for i, e := range ended {
		want := 2 + i // port 1 was used again after port 51 had come
		switch {
		case want == 52:
			want = 1
		case want > 52:
			want--
		}
		if e.Cause != error(flow.Evicted) || e.Source != clientAt(2, want) {
			t.Fatalf("eviction %d: %v, %v, want port %d", i, e.Source, e.Cause, want)
		}
	}
}

// When all sources have one Socket each, the least recently used goes.
func TestEvictionAmongEquals(t *testing.T) {
	server := families[0].server
	r := newRig(t, Config{MaxSockets: 3})
	var s [5]*Socket
	for i := range 3 {
		s[i] = r.opened(clientAt(i, 1), server)
	}
	r.receive(clientAt(0, 1), server, "again")
	s[3] = r.opened(clientAt(3, 1), server)
	s[4] = r.opened(clientAt(4, 1), server)
	for i, gone := range []bool{false, true, true, false, false} {
		if (s[i].err() != nil) != gone {
			t.Errorf("Socket %d: %v", i, s[i].err())
		}
	}
}

func TestMaxSocketsPerSource(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{MaxSocketsPerSource: 2})
		first := r.opened(f.client, f.server)
		second := r.opened(f.other, f.server)
		stranger := r.opened(f.stranger, f.server)
		third := r.opened(netip.AddrPortFrom(f.client.Addr(), 1), f.server)
		if first.err() == nil || context.Cause(first.Context()) != error(flow.Evicted) {
			t.Errorf("first: %v", first.err())
		}
		for i, s := range []*Socket{second, stranger, third} {
			if s.err() != nil {
				t.Errorf("Socket %d: %v", i, s.err())
			}
		}
		if got := r.Stats(); got.EvictedSource != 1 || got.Evicted != 0 {
			t.Errorf("%+v", got)
		}
		r.wantDrops(drop.UDPSourceLimit, 1)
	})
}

// One IPv6 host has a /64 of addresses and is one source all the same.
func TestSourceKey(t *testing.T) {
	r := newRig(t, Config{MaxSocketsPerSource: 1})
	a := r.opened(ap("[fd00::2]:1"), families[1].server)
	b := r.opened(ap("[fd00::3]:1"), families[1].server)
	if a.err() == nil || b.err() != nil {
		t.Errorf("%v, %v", a.err(), b.err())
	}
	r = newRig(t, Config{MaxSocketsPerSource: 1}, func(e *Env) {
		e.SourceKey = func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	})
	a = r.opened(ap("[fd00::2]:1"), families[1].server)
	b = r.opened(ap("[fd00::3]:1"), families[1].server)
	if a.err() != nil || b.err() != nil {
		t.Errorf("%v, %v", a.err(), b.err())
	}
}

// The order of eviction holds against a plain model under random use.
func TestSourcesModel(t *testing.T) {
	x := newSources()
	var all []*Socket // least recently used first
	keys := map[*Socket]netip.Prefix{}
	count := map[netip.Prefix]int{}
	rnd := uint32(1)
	next := func(n int) int {
		rnd = rnd*1664525 + 1013904223
		return int(rnd>>8) % n
	}
	drop := func(i int) {
		s := all[i]
		x.remove(s)
		count[keys[s]]--
		all = append(all[:i:i], all[i+1:]...)
	}
	for step := range 5000 {
		switch op := next(10); {
		case op < 5 || len(all) == 0:
			s := &Socket{}
			keys[s] = netip.PrefixFrom(clientAt(next(20), 1).Addr(), 32)
			x.add(s, keys[s])
			count[keys[s]]++
			all = append(all, s)
		case op < 8:
			i := next(len(all))
			s := all[i]
			x.touch(s)
			all = append(append(all[:i:i], all[i+1:]...), s)
		case op < 9:
			drop(next(len(all)))
		default:
			key := netip.PrefixFrom(clientAt(next(20), 1).Addr(), 32)
			v := x.victim(key)
			most := 0
			for _, n := range count {
				most = max(most, n)
			}
			if count[keys[v]] != most || x.total != len(all) {
				t.Fatalf("step %d: victim's source has %d, the largest %d", step, count[keys[v]], most)
			}
			if count[key] == most && keys[v] != key {
				t.Fatalf("step %d: the victim is another's although %v has as many", step, key)
			}
			for i, s := range all {
				if keys[s] == keys[v] {
					if s != v {
						t.Fatalf("step %d: victim is not its source's oldest", step)
					}
					drop(i)
					break
				}
			}
		}
		for k, n := range count {
			if x.count(k) != n {
				t.Fatalf("step %d: %v has %d, want %d", step, k, x.count(k), n)
			}
		}
	}
}

// An idle Socket costs some 800 bytes and neither a goroutine nor a timer.
func TestIdleCost(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	const n = 10000
	r := newRig(t, Config{AcceptQueue: n})
	b := make([]byte, 10)
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools need two
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	goroutines := runtime.NumGoroutine()
	before := heap()
	for i := range n {
		r.receive(clientAt(i%100, 1+i/100), families[0].server, "x")
		if _, err := r.accept().ReadMsg(b); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / n; each > 1024 {
		t.Errorf("%d bytes each", each)
	} else {
		t.Logf("%d bytes each", each)
	}
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("%d goroutines, %d before", got, goroutines)
	}
}

// Ten thousand Sockets come and go, and nothing stays.
func TestManySockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{AcceptQueue: 20000})
		for i := range 10000 {
			r.receive(clientAt(i%100, 1+i/100), families[0].server, "x")
		}
		if got := r.Stats(); got.Sockets != 10000 || got.Sources != 100 {
			t.Errorf("%+v", got)
		}
		b := make([]byte, 10)
		for range 10000 {
			if _, err := r.accept().ReadMsg(b); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.Stats(); got.Sockets != 0 || got.Sources != 0 {
			t.Errorf("%+v", got)
		}
	})
}

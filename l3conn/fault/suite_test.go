package fault

import (
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

// The kinds of conns below.
var pipes = []struct {
	name string
	make func() (x, y l3conn.Conn)
}{
	{"plain", func() (x, y l3conn.Conn) { return l3conn.Pipe(0, 0) }},
	{"batch", func() (x, y l3conn.Conn) { return l3conn.BatchPipe(0, 0, 5) }},
	{"segments", func() (x, y l3conn.Conn) { return l3conn.SegmentPipe(nil) }},
	{"direct", func() (x, y l3conn.Conn) { return l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Direct: true}) }},
}

// never is a probability that no test lives to see, but one: the way of the
// packets is that of a faulty direction.
const never = 1e-300

// TestContract holds every way that packets can go, none of them losing any,
// against the contract of l3conn.
func TestContract(t *testing.T) {
	drop, slow := Direction{Drop: never}, Direction{Rate: 1 << 40}
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"none", Config{}},
		{"immediate", Config{In: drop, Out: drop}},
		{"timed", Config{In: slow, Out: slow}},
		{"delayed", Config{Out: Direction{Delay: time.Microsecond}}},
	} {
		for _, kind := range pipes {
			t.Run(c.name+"/"+kind.name, func(t *testing.T) {
				l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
					x, y := kind.make()
					bad, err := New(x, &c.cfg)
					if err != nil {
						t.Fatal(err)
					}
					return bad, y, func() {
						bad.Close()
						l3conn.Probe(y).Closer.Close()
					}
				})
			})
		}
	}
}

// TestSameAbilities: a Conn without faults claims what it wraps can do, no more
// and no less, and does not stand in the way of segments.
func TestSameAbilities(t *testing.T) {
	for _, kind := range pipes {
		x, _ := kind.make()
		c, err := New(x, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, got := l3conn.Probe(x), l3conn.Probe(c)
		if got.Conn != l3conn.Conn(c) || got.Closer != c {
			t.Errorf("%s: passes the Conn by", kind.name)
		}
		got.Conn, got.Closer = want.Conn, want.Closer
		if got != want {
			t.Errorf("%s: %+v, want %+v", kind.name, got, want)
		}
	}
	c, _ := New(l3conn.Funcs{}, &Config{In: Direction{Drop: 1}, Out: Direction{Drop: 1}})
	if caps := l3conn.Probe(c); caps.Closer != nil || caps.WriteDeadliner != nil || caps.BatchWriter != nil || caps.Offloader != nil {
		t.Errorf("abilities out of nothing: %+v", caps)
	}
}

// TestFaultyAbilities: faults take neither batches away nor, from the writer,
// segments.
func TestFaultyAbilities(t *testing.T) {
	for _, cfg := range []Config{
		{In: Direction{Drop: 0.1}, Out: Direction{Drop: 0.1}},
		{In: Direction{Delay: 1}, Out: Direction{Delay: 1}},
	} {
		x, _ := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Direct: true})
		c, err := New(x, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		caps := l3conn.Probe(c)
		if caps.BatchReader.BatchSize() != batchSize || caps.BatchWriter == nil || !caps.Direct || caps.MTU() != 1500 {
			t.Errorf("%+v", caps)
		}
		if read, write := caps.Offloader.Offload(); read != 0 || write != l3conn.OffloadAll {
			t.Errorf("offers %b, %b", read, write)
		}
	}
}

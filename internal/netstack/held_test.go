package netstack

import (
	"math/rand/v2"
	"testing"

	"l3extract/internal/budget"
)

func heldFlow() (*flowSeq, *budget.Budget) {
	b := budget.New(0)
	f := &flowSeq{held: held{budget: b}}
	f.started(100)
	f.acked(101) // our SYN
	return f, b
}

func TestHeldReceived(t *testing.T) {
	begin := uint32(0xffff_ff00) // sequence numbers wrap
	type seg struct {
		from, n int
		counts  bool
	}
	for name, tc := range map[string]struct {
		segs []seg
		read int
		left int // segments' worth that still counts
	}{
		"in order, all read":   {[]seg{{0, 100, true}, {100, 300, true}}, 400, 0},
		"in order, half read":  {[]seg{{0, 200, true}, {200, 200, true}}, 200, 1},
		"again":                {[]seg{{0, 100, true}, {0, 100, false}, {50, 50, false}}, 100, 0},
		"a gap":                {[]seg{{100, 100, true}}, 0, 1},
		"a gap that is filled": {[]seg{{100, 100, true}, {0, 100, true}}, 200, 0},
		"in a gap, again":      {[]seg{{100, 100, true}, {100, 100, true}}, 0, 2},
		"overlapping":          {[]seg{{0, 100, true}, {50, 100, true}}, 150, 0},
		"beyond any window":    {[]seg{{maxBuffer, 1, false}}, 0, 0},
		"before the beginning": {[]seg{{-100, 100, false}}, 0, 0},
		"nothing":              {[]seg{{0, 0, false}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, b := heldFlow()
			f.held.begin(begin)
			f.held.begin(7) // a SYN that comes again
			const cost = 1000
			want := int64(0)
			for _, s := range tc.segs {
				f.held.received(begin+uint32(s.from), s.n, cost)
				if s.counts {
					want += cost
				}
				if got := b.Snapshot().Receive; got != want {
					t.Errorf("%d bytes at %d: %d held, want %d", s.n, s.from, got, want)
				}
			}
			if tc.read > 0 {
				f.held.read(tc.read)
			}
			if got := b.Snapshot().Receive; got != int64(tc.left)*cost || f.held.bytes() != got {
				t.Errorf("%d held in the end, want %d", got, tc.left*cost)
			}
			f.held.release()
			f.held.received(begin+1000, 100, cost) // late
			f.held.read(10)
			if u := b.Snapshot(); u.Used != 0 {
				t.Errorf("left: %+v", u)
			}
		})
	}
}

func TestHeldSent(t *testing.T) {
	f, b := heldFlow()
	f.wrote(1000)
	f.wrote(64 << 10)
	all := writeCost(1000) + writeCost(64<<10)
	if got := b.Snapshot().Send; got != all || got != 1024+64<<10+2*segmentCost {
		t.Errorf("%d held for two writes, want %d", got, all)
	}
	f.acked(101 + (1000+64<<10)/2)
	if got := b.Snapshot().Send; got != all/2 {
		t.Errorf("%d held when half is acknowledged, want %d", got, all/2)
	}
	f.acked(101 + 1000 + 64<<10 + 1) // and a FIN
	if got := b.Snapshot().Send; got != 0 {
		t.Errorf("%d held when all is acknowledged", got)
	}
	f.wrote(10)
	f.release()
	f.wrote(10) // late
	if u := b.Snapshot(); u.Used != 0 {
		t.Errorf("left: %+v", u)
	}
	if f.out.Load() != 1020+64<<10 {
		t.Errorf("%d bytes written", f.out.Load())
	}
}

// TestHeldEarlyAck: an acknowledgement that comes before its Write is counted frees it.
func TestHeldEarlyAck(t *testing.T) {
	f, b := heldFlow()
	f.acked(101 + 5000)
	f.wrote(5000)
	if got := b.Snapshot().Send; got != 0 {
		t.Errorf("%d held", got)
	}
}

// TestHeldNeverLess holds what is counted against what is there, in any order of things.
func TestHeldNeverLess(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		f, b := heldFlow()
		f.held.begin(1)
		next, end, unacked := uint32(1), uint32(1), 0
		for range 100 {
			switch n := 1 + r.IntN(3000); r.IntN(4) {
			case 0: // in order
				f.held.received(end, n, chunkCost(n))
				end += uint32(n)
			case 1:
				n = min(n, int(end-next))
				if n > 0 {
					f.held.read(n)
					next += uint32(n)
				}
			case 2:
				f.wrote(n)
				unacked += n
			case 3:
				n = min(n, unacked)
				unacked -= n
				f.acked(f.una.Load() + uint32(n))
			}
			u := b.Snapshot()
			if u.Receive < int64(end-next) || end == next && u.Receive != 0 {
				t.Fatalf("%d counted for %d unread bytes", u.Receive, end-next)
			}
			if u.Send < int64(unacked) || unacked == 0 && u.Send != 0 {
				t.Fatalf("%d counted for %d unacknowledged bytes", u.Send, unacked)
			}
			if f.held.bytes() != u.Used {
				t.Fatalf("the flow says %d, the budget %d", f.held.bytes(), u.Used)
			}
		}
		f.release()
		if u := b.Snapshot(); u.Used != 0 {
			t.Fatalf("left: %+v", u)
		}
	}
}

package budget

import (
	"sync"
	"testing"
)

func TestStart(t *testing.T) {
	b := New(1000)
	for _, tc := range []struct {
		used int64
		want int
	}{{0, StartSize}, {799, StartSize}, {800, SmallStartSize}, {999, SmallStartSize}, {1000, SmallStartSize}, {2000, SmallStartSize}} {
		b.Hold(Send, tc.used)
		if n, ok := b.Start(); n != tc.want || ok != (tc.used < 1000) {
			t.Errorf("with %d used: %d, %v, want %d", tc.used, n, ok, tc.want)
		}
		b.Give(Send, tc.used)
	}
	if u := b.Snapshot(); u.Refused != 2 || u.Used != 0 {
		t.Errorf("snapshot %+v", u)
	}
}

// TestPromise: buffers grow up to 80 % of the limit, of what is held and what is
// promised, and applications may ask for the rest.
func TestPromise(t *testing.T) {
	const big = 1000
	b := New(big)
	grown := StartSize + 800
	if !b.Promise(SmallStartSize, StartSize) || !b.Promise(StartSize, grown) || b.Snapshot().Promised != 800 {
		t.Fatalf("below 80 %%: %+v", b.Snapshot())
	}
	if b.Promise(grown, grown+1) {
		t.Error("grew beyond 80 % of what is promised")
	}
	if !b.Demand(grown, grown+200) || b.Demand(grown+200, grown+201) {
		t.Error("an application gets just the limit")
	}
	b.Withdraw(grown+200, SmallStartSize)
	b.Hold(Receive, 800)
	if b.Promise(SmallStartSize, StartSize) {
		t.Error("grew with 80 % held")
	}
	if u := b.Snapshot(); u.Promised != 0 || u.Refused != 1 {
		t.Errorf("snapshot %+v", u)
	}
}

// TestCongested: writers wait from the limit on, are told when there is room, and the
// one who makes it is asked to.
func TestCongested(t *testing.T) {
	b := New(1000)
	if _, full := b.Congested(); full {
		t.Fatal("congested while empty")
	}
	b.Hold(Send, 1000)
	select {
	case <-b.Full():
	default:
		t.Error("nobody was asked to make room")
	}
	room, full := b.Congested()
	if !full || b.Excess() != 100 || b.Over() {
		t.Fatalf("congested %v, excess %d, over %v", full, b.Excess(), b.Over())
	}
	b.Hold(Send, 125)
	if !b.Over() {
		t.Error("an eighth beyond the limit is not over it")
	}
	b.Give(Send, 125)
	select {
	case <-room:
		t.Error("room at the limit")
	default:
	}
	b.Give(Send, 1)
	<-room
	if _, full := b.Congested(); full || b.Excess() != 0 {
		t.Error("congested below the limit")
	}
	b.Evict(7)
	if u := b.Snapshot(); u.Evicted != 1 || u.EvictedBytes != 7 {
		t.Errorf("snapshot %+v", u)
	}
}

func TestLimits(t *testing.T) {
	b := New(1000)
	for _, tc := range []struct {
		name string
		call func() bool
		want bool
		used int64
	}{
		{"grow to 80 %", func() bool { return b.Grow(Receive, 800) }, true, 800},
		{"grow beyond", func() bool { return b.Grow(Send, 1) }, false, 800},
		{"take beyond 80 %", func() bool { return b.Take(WriteBuffer, 200) }, true, 1000},
		{"take beyond 100 %", func() bool { return b.Take(Datagram, 1) }, false, 1000},
		{"hold beyond", func() bool { b.Hold(Send, 50); return true }, true, 1050},
		{"give", func() bool { b.Give(Send, 50); b.Give(WriteBuffer, 200); return true }, true, 800},
		{"take again", func() bool { return b.Take(Reassembly, 1) }, true, 801},
	} {
		if got := tc.call(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		if u := b.Snapshot(); u.Used != tc.used {
			t.Errorf("%s: used %d, want %d", tc.name, u.Used, tc.used)
		}
	}
	if u := b.Snapshot(); u.Refused != 1 || u.Send != 0 || u.WriteBuffer != 0 {
		t.Errorf("snapshot %+v", u)
	}
}

func TestNoLimit(t *testing.T) {
	b := New(-1)
	if !b.Grow(Receive, 1<<40) || !b.Take(Send, 1<<40) {
		t.Error("a budget without limit refused")
	}
	if n, ok := b.Start(); !ok || n != StartSize {
		t.Errorf("Start = %d, %v", n, ok)
	}
}

// TestConcurrent holds the sum below the limit with many takers at once.
func TestConcurrent(t *testing.T) {
	const limit = 10_000
	b := New(limit)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.Take(Datagram, 7) {
					if held := b.by[Datagram].Load(); held > limit {
						t.Errorf("%d granted of %d", held, limit)
					}
					b.Give(Datagram, 7)
				}
			}
		})
	}
	wg.Wait()
	if u := b.Snapshot(); u.Used != 0 || u.Datagram != 0 {
		t.Errorf("left %+v", u)
	}
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := range kinds {
		if s := k.String(); s == "" || seen[s] {
			t.Errorf("kind %d has the name %q", k, s)
		} else {
			seen[s] = true
		}
	}
	if got := kinds.String(); got != "Kind(6)" {
		t.Errorf("unknown kind: %q", got)
	}
}

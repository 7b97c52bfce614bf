package budget

import (
	"sync"
	"testing"
)

func TestStart(t *testing.T) {
	b := New(1 << 20)
	streams, small := 0, 0
	for {
		n, ok := b.Start()
		if !ok {
			break
		}
		streams++
		if n == SmallStartSize {
			small++
		} else if small > 0 {
			t.Fatalf("stream %d starts with %d after small ones", streams, n)
		}
	}
	// 6 × 128 KiB fit below 80 % of 1 MiB, and 16 × 16 KiB in what is left.
	if streams-small != 6 || small != 16 {
		t.Errorf("%d full and %d small starts, want 6 and 16", streams-small, small)
	}
	u := b.Snapshot()
	if u.Used != 1<<20 || u.Receive != u.Send || u.Receive+u.Send != u.Used {
		t.Errorf("snapshot %+v", u)
	}
	if u.Refused == 0 {
		t.Error("a refusal was not counted")
	}
	if b.Grow(Send, 1) {
		t.Error("something grew in a full budget")
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
		{"move", func() bool { b.Move(WriteBuffer, Send, 200); return true }, true, 1000},
		{"give", func() bool { b.Give(Send, 200); return true }, true, 800},
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
	if got := kinds.String(); got != "Kind(5)" {
		t.Errorf("unknown kind: %q", got)
	}
}

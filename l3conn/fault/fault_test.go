package fault

import (
	"math"
	"slices"
	"testing"
	"time"
)

// sequence returns the numbers of what arrived.
func sequence(a []arrival) []int {
	s := make([]int, len(a))
	for i := range a {
		s[i] = a[i].seq
	}
	return s
}

// near fails unless got is what chance makes of p in n tries; with a fixed seed
// that is no matter of luck.
func near(t *testing.T, what string, got uint64, p float64, n int) {
	t.Helper()
	mean := p * float64(n)
	if dev := 5 * math.Sqrt(mean*(1-p)); math.Abs(float64(got)-mean) > dev {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, mean, dev)
	}
}

// TestEachFault: what is asked for happens, as often as it should, and nothing else.
func TestEachFault(t *testing.T) {
	const n = 20000
	for _, c := range []struct {
		name string
		d    Direction
		want func(t *testing.T, got []arrival, c Counts)
	}{
		{"drop", Direction{Drop: 0.05}, func(t *testing.T, got []arrival, c Counts) {
			near(t, "dropped", c.Dropped, 0.05, n)
			if len(got) != n-int(c.Dropped) || !slices.IsSorted(sequence(got)) {
				t.Errorf("%d came", len(got))
			}
		}},
		{"all", Direction{Drop: 1}, func(t *testing.T, got []arrival, c Counts) {
			if len(got) != 0 || c.Dropped != n {
				t.Errorf("%d came of %+v", len(got), c)
			}
		}},
		{"burst", Direction{Burst: 0.01, BurstLength: 5}, func(t *testing.T, got []arrival, c Counts) {
			bursts, last := 0, -1
			for _, a := range got {
				if a.seq != last+1 {
					bursts++
				}
				last = a.seq
			}
			if mean := float64(c.Burst) / float64(bursts); mean < 4.5 || mean > 5.5 {
				t.Errorf("%d lost in %d bursts", c.Burst, bursts)
			}
			near(t, "bursts", uint64(bursts), 0.01*0.95, n)
		}},
		{"duplicate", Direction{Duplicate: 0.1}, func(t *testing.T, got []arrival, c Counts) {
			near(t, "duplicated", c.Duplicated, 0.1, n)
			twice := uint64(0)
			for i := 1; i < len(got); i++ {
				if got[i].seq == got[i-1].seq {
					twice++
				}
			}
			if twice != c.Duplicated || len(got) != n+int(twice) {
				t.Errorf("%d came, %d twice", len(got), twice)
			}
		}},
		{"corrupt", Direction{Corrupt: 0.1}, func(t *testing.T, got []arrival, c Counts) {
			near(t, "corrupted", c.Corrupted, 0.1, n)
			bad := uint64(0)
			for _, a := range got {
				if !a.good {
					bad++
				}
			}
			if bad != c.Corrupted || len(got) != n {
				t.Errorf("%d came, %d of them damaged", len(got), bad)
			}
		}},
		{"reorder", Direction{Reorder: 0.1, ReorderDelay: 3500 * time.Microsecond}, func(t *testing.T, got []arrival, c Counts) {
			near(t, "reordered", c.Reordered, 0.1, n)
			late, overtaken := uint64(0), uint64(0)
			for i, a := range got {
				sent := time.Duration(a.seq) * time.Millisecond
				switch a.at - sent {
				case 0:
				case 3500 * time.Microsecond:
					late++
					if i > 0 && got[i-1].seq > a.seq {
						overtaken++
					}
				default:
					t.Fatalf("%d took %v", a.seq, a.at-sent)
				}
			}
			// One that is followed by three late ones is overtaken by none of them.
			if late != c.Reordered || len(got) != n || overtaken < late*98/100 {
				t.Errorf("%d came, %d late, %d overtaken", len(got), late, overtaken)
			}
		}},
		{"delay", Direction{Delay: 70 * time.Millisecond}, func(t *testing.T, got []arrival, c Counts) {
			for i, a := range got {
				if a.seq != i || a.at-time.Duration(i)*time.Millisecond != 70*time.Millisecond {
					t.Fatalf("%d came as number %d at %v", a.seq, i, a.at)
				}
			}
			if len(got) != n {
				t.Errorf("%d came", len(got))
			}
		}},
		{"jitter", Direction{Delay: 5 * time.Millisecond, Jitter: 4 * time.Millisecond}, func(t *testing.T, got []arrival, c Counts) {
			least, most := time.Hour, time.Duration(0)
			for i, a := range got {
				took := a.at - time.Duration(i)*time.Millisecond
				least, most = min(least, took), max(most, took)
				if a.seq != i {
					t.Fatalf("jitter reorders: %d came as number %d", a.seq, i)
				}
			}
			if least < 5*time.Millisecond || least > 5200*time.Microsecond || most < 8900*time.Microsecond || most >= 9*time.Millisecond {
				t.Errorf("took %v to %v", least, most)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, in, stats := through(t, 7, c.d, n, 60, time.Millisecond)
			t.Run("out", func(t *testing.T) { c.want(t, out, stats.Out) })
			t.Run("in", func(t *testing.T) { c.want(t, in, stats.In) })
		})
	}
}

// TestRate: an idle link takes a packet at once, a busy one queues, and a full
// queue drops, all to the nanosecond.
func TestRate(t *testing.T) {
	// 1250 bytes are 10 ms, one comes each 4 ms, and three are 3750.
	out, in, stats := through(t, 0, Direction{Rate: 1e6, Queue: 3750}, 100, 1250, 4*time.Millisecond)
	for _, got := range [][]arrival{out, in} {
		for i, a := range got {
			if a.at != time.Duration(i+1)*10*time.Millisecond {
				t.Fatalf("packet %d came as number %d at %v", a.seq, i, a.at)
			}
			if i > 0 && a.at-time.Duration(a.seq)*4*time.Millisecond > 30*time.Millisecond {
				t.Errorf("packet %d waited longer than the queue is", a.seq)
			}
		}
	}
	if want := uint64(100 - 42); stats.Out.QueueFull != want || stats.In.QueueFull != want {
		t.Errorf("dropped %d and %d, want %d", stats.Out.QueueFull, stats.In.QueueFull, want)
	}
}

// TestSmallQueue: a link that is idle takes a packet that is larger than its queue.
func TestSmallQueue(t *testing.T) {
	out, _, _ := through(t, 0, Direction{Rate: 1e6, Queue: 1}, 5, 1250, 20*time.Millisecond)
	if len(out) != 5 {
		t.Errorf("%d came", len(out))
	}
}

// TestHold: memory for what is under way is bounded, and its overflow counted.
func TestHold(t *testing.T) {
	out, in, stats := through(t, 0, Direction{Delay: time.Minute, Hold: 10 * 256}, 100, 60, time.Millisecond)
	if len(out) != 10 || len(in) != 10 || stats.Out.HoldFull != 90 || stats.In.HoldFull != 90 {
		t.Errorf("%d and %d came: %+v", len(out), len(in), stats)
	}
}

// messy is a direction with everything.
var messy = Direction{
	Drop: 0.05, Burst: 0.01, Duplicate: 0.05, Corrupt: 0.05, Reorder: 0.05,
	Delay: 5 * time.Millisecond, Jitter: 3 * time.Millisecond, ReorderDelay: 4 * time.Millisecond,
}

// TestReproducible: the seed decides, and In and Out of one seed differ.
func TestReproducible(t *testing.T) {
	out1, in1, _ := through(t, 1, messy, 2000, 60, time.Millisecond)
	out2, in2, _ := through(t, 1, messy, 2000, 60, time.Millisecond)
	if !slices.Equal(out1, out2) || !slices.Equal(in1, in2) {
		t.Error("two runs of one seed differ")
	}
	if slices.Equal(out1, in1) {
		t.Error("In and Out share their dice")
	}
	if other, _, _ := through(t, 2, messy, 2000, 60, time.Millisecond); slices.Equal(out1, other) {
		t.Error("the seed makes no difference")
	}
}

// TestFaultsAreIndependent: the packets that one fault takes are the same whatever
// else is switched on.
func TestFaultsAreIndependent(t *testing.T) {
	alone := newDice(&Direction{Drop: 0.1, BurstLength: 4}, 3, streamOut)
	among := newDice(&Direction{Drop: 0.1, Burst: 0.2, BurstLength: 9, Duplicate: 0.5, Corrupt: 1, Reorder: 0.5, Jitter: 9}, 3, streamOut)
	dropped := 0
	for i := range 10000 {
		a, b := alone.throw(), among.throw()
		if a.drop != b.drop {
			t.Fatalf("packet %d", i)
		}
		if a.drop {
			dropped++
		}
		if a.burst || a.duplicate || a.corrupt || a.reorder || a.jitter != 0 {
			t.Fatalf("packet %d: %+v", i, a)
		}
	}
	near(t, "dropped", uint64(dropped), 0.1, 10000)
}

package fault

import (
	"testing"
	"testing/synctest"
	"time"

	"l3extract/l3conn"
)

// FuzzBalance sends packets through faults of any kind and checks the account:
// what was sent is what arrived and what was counted, for each copy of each packet.
func FuzzBalance(f *testing.F) {
	f.Add(uint64(1), byte(10), byte(3), byte(20), byte(20), byte(20), byte(5), byte(3), uint16(0), uint16(0), byte(100), []byte("123"))
	f.Add(uint64(2), byte(0), byte(0), byte(255), byte(0), byte(0), byte(0), byte(0), uint16(1), uint16(9), byte(50), []byte("a longer one"))
	f.Add(uint64(3), byte(0), byte(0), byte(0), byte(0), byte(9), byte(0), byte(0), uint16(0), uint16(0), byte(0), []byte{255, 0, 255})
	f.Add(uint64(4), byte(9), byte(0), byte(9), byte(9), byte(0), byte(0), byte(0), uint16(0), uint16(0), byte(0), []byte{1, 2})
	f.Fuzz(func(t *testing.T, seed uint64, drop, burst, dup, corrupt, reorder, delay, jitter byte, rate, queue uint16, hold byte, batches []byte) {
		d := Direction{
			Drop: float64(drop) / 255, Burst: float64(burst) / 255, Duplicate: float64(dup) / 255,
			Corrupt: float64(corrupt) / 255, Reorder: float64(reorder) / 255,
			Delay: time.Duration(delay) * 100 * time.Microsecond, Jitter: time.Duration(jitter) * 100 * time.Microsecond,
			Rate: int64(rate) * 1000, Queue: int(queue), Hold: int(hold) * 256,
		}
		const most = 2000
		synctest.Test(t, func(t *testing.T) {
			x, y := l3conn.BatchPipe(4*most, 1500, 0)
			defer y.Close()
			c := open(t, x, &Config{Seed: seed, In: d, Out: d})
			defer c.Close()
			start := time.Now()
			in := make(chan []arrival, 1)
			out := make(chan []arrival, 1)
			go func() { in <- collect(t, c, start) }()  // ends with its deadline
			go func() { out <- collect(t, y, start) }() // ends with its deadline
			sent := 0
			for _, n := range batches {
				pkts := make([][]byte, min(int(n), most-sent))
				for i := range pkts {
					pkts[i] = numbered(sent, 8+(sent*37)%1400)
					sent++
				}
				for _, w := range []l3conn.BatchWriter{l3conn.Probe(c).Writer(), y} {
					if n, err := w.WriteBatch(pkts); n != len(pkts) || err != nil {
						t.Fatal(n, err)
					}
				}
				time.Sleep(time.Millisecond)
			}
			gotIn, gotOut := <-in, <-out
			stats := c.Stats()
			account(t, stats.In, gotIn, sent)
			account(t, stats.Out, gotOut, sent)
			c.Close()
			balanced(t, c.Stats().In)
			balanced(t, c.Stats().Out)
		})
	})
}

// account compares what arrived with what was counted.
func account(t *testing.T, c Counts, got []arrival, sent int) {
	t.Helper()
	balanced(t, c)
	if c == (Counts{}) && len(got) == sent {
		return // nothing may happen to any packet, so none is counted
	}
	if c.Packets != uint64(sent) || c.Delivered != uint64(len(got)) || c.Refused+c.Short+c.Closed != 0 {
		t.Errorf("%d sent, %d arrived: %+v", sent, len(got), c)
	}
	copies, bad := make([]int, sent), uint64(0)
	for _, a := range got {
		if !a.good {
			bad++
			continue // of its number, too, nothing can be said
		}
		if copies[a.seq]++; copies[a.seq] > 2 {
			t.Fatalf("packet %d arrived three times", a.seq)
		}
	}
	if bad > 2*c.Corrupted {
		t.Errorf("%d damaged: %+v", bad, c)
	}
}

package link

import (
	"math/rand/v2"
	"testing"
)

// TestRingMemory: packets of all sizes lie in the ring's memory without touching each
// other, whoever of reader and taker is faster.
func TestRingMemory(t *testing.T) {
	for _, largest := range []int{1, 1500, 9000, maxRead} {
		r := newRing()
		const n = 20_000
		go func() { // ends after n packets; awaited by end
			defer r.end()
			rng := rand.New(rand.NewPCG(1, uint64(largest)))
			for i := range n {
				b := r.space()
				if len(b) != maxRead {
					t.Errorf("room of %d", len(b))
					return
				}
				size := 1 + rng.IntN(largest)
				b[0], b[size-1] = byte(i), byte(i)
				if size < maxRead {
					b[size] = 0xee // a conn may use all of what it is given
				}
				r.put(size)
			}
		}()
		rng := rand.New(rand.NewPCG(1, uint64(largest)))
		next, pkts := 0, []Packet(nil)
		for {
			pkts = r.take(pkts[:0])
			if len(pkts) == 0 {
				break
			}
			if len(pkts) > ringPackets {
				t.Fatalf("%d packets at once", len(pkts))
			}
			for _, p := range pkts {
				size := 1 + rng.IntN(largest)
				if len(p.Data) != size || p.Data[0] != byte(next) || p.Data[size-1] != byte(next) {
					t.Fatalf("largest %d: packet %d has %d bytes, want %d", largest, next, len(p.Data), size)
				}
				next++
			}
			r.release()
		}
		if next != n {
			t.Errorf("largest %d: %d packets of %d", largest, next, n)
		}
	}
}

// TestRingBounds: a ring that nobody empties takes no more than it has room for, and
// its reader is woken by room and by the end.
func TestRingBounds(t *testing.T) {
	for _, size := range []int{1, 1500, maxRead} {
		r := newRing()
		n := 0
		for ; ; n++ {
			if _, ok := r.fit(); !ok {
				break
			}
			r.space()
			r.put(size)
		}
		if want := min(ringPackets, (ringBytes-maxRead)/size+1); n != want {
			t.Errorf("packets of %d: %d in the ring, want %d", size, n, want)
		}
		got := make(chan bool)
		go func() { // ends by dump
			for r.space() != nil {
				r.put(size)
				got <- true
			}
			close(got)
		}()
		if pkts := r.take(nil); len(pkts) < n {
			t.Errorf("%d packets taken", len(pkts))
		}
		r.release()
		<-got
		r.dump()
		for range got {
		}
	}
}

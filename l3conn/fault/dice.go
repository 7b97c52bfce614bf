package fault

import (
	"math/rand/v2"
	"time"
)

// dice decide about the packets of one direction.
type dice struct {
	d       *Direction
	source  rand.PCG
	inBurst bool
}

// The streams of random numbers of one seed.
const (
	streamIn = iota + 1
	streamOut
)

func newDice(d *Direction, seed, stream uint64) dice {
	return dice{d: d, source: *rand.NewPCG(seed, stream)}
}

// fate is what is to happen to one packet.
type fate struct {
	drop, burst, corrupt, duplicate, reorder bool

	bit    uint64 // to flip, modulo the packet's bits
	jitter time.Duration
}

// throw decides about the next packet. It draws the same number of numbers each
// time, so that no fault changes what another one does.
func (d *dice) throw() fate {
	f := fate{drop: d.hit(d.d.Drop)}
	enter, leave := d.hit(d.d.Burst), d.hit(1/d.d.BurstLength)
	f.burst = d.inBurst || enter
	d.inBurst = f.burst && !leave
	f.corrupt, f.bit = d.hit(d.d.Corrupt), d.source.Uint64()
	f.duplicate, f.reorder = d.hit(d.d.Duplicate), d.hit(d.d.Reorder)
	f.jitter = time.Duration(d.unit() * float64(d.d.Jitter))
	return f
}

// unit returns a number from 0 to below 1.
func (d *dice) unit() float64 { return float64(d.source.Uint64()>>11) * 0x1p-53 }

// hit is true with probability p.
func (d *dice) hit(p float64) bool { return d.unit() < p }

// flip changes the bit of p that f says.
func (f *fate) flip(p []byte) {
	bit := f.bit % uint64(8*len(p))
	p[bit/8] ^= 1 << (bit % 8)
}

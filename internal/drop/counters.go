package drop

import (
	"iter"
	"sync/atomic"
)

// Counters counts drops by cause. The zero value is ready; all methods may be
// called at once from any goroutine. Numbers only grow.
type Counters struct {
	n [count]atomic.Uint64
}

// Add counts one drop for c. None and values that are no cause are ignored, so
// that a caller may pass on whatever a check returned.
func (k *Counters) Add(c Cause) { k.AddN(c, 1) }

// AddN counts n drops for c, as [Counters.Add] does for one.
func (k *Counters) AddN(c Cause, n uint64) {
	if c == None || c >= count {
		return
	}
	k.n[c].Add(n)
}

// Load returns the number of drops counted for c.
func (k *Counters) Load(c Cause) uint64 {
	if c >= count {
		return 0
	}
	return k.n[c].Load()
}

// Total returns the number of drops of all causes. Drops counted while it runs
// may be missed.
func (k *Counters) Total() uint64 {
	var sum uint64
	for i := range k.n {
		sum += k.n[i].Load()
	}
	return sum
}

// Snapshot returns the counters that are not zero, by the name of their cause.
// Each number is exact, but they are not read at one instant.
func (k *Counters) Snapshot() map[string]uint64 {
	m := make(map[string]uint64)
	for c, n := range k.All() {
		if n != 0 {
			m[c.String()] = n
		}
	}
	return m
}

// All yields every cause but None with its number, zeros included, in the
// order of the constants.
func (k *Counters) All() iter.Seq2[Cause, uint64] {
	return func(yield func(Cause, uint64) bool) {
		for c := None + 1; c < count; c++ {
			if !yield(c, k.n[c].Load()) {
				return
			}
		}
	}
}

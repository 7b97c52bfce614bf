package ether

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// neighbours says which MAC an address is of. Times are since the Conn was made.
type neighbours struct {
	most, mostOf int
	age          time.Duration

	mu    sync.RWMutex
	by    map[netip.Addr]*neighbour
	of    map[MAC][]netip.Addr
	swept time.Duration // the last time that old ones were looked for
}

type neighbour struct {
	mac  MAC // guarded by mu
	seen atomic.Int64
}

func newNeighbours(most int, age time.Duration) *neighbours {
	return &neighbours{
		most: most, mostOf: most / 8, age: age,
		by: make(map[netip.Addr]*neighbour), of: make(map[MAC][]netip.Addr), swept: -age,
	}
}

// find returns the MAC of an address.
func (t *neighbours) find(a netip.Addr) (MAC, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := t.by[a]; n != nil {
		return n.mac, true
	}
	return MAC{}, false
}

// holder returns the MAC of an address from which something came of late.
func (t *neighbours) holder(a netip.Addr, now time.Duration) (MAC, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := t.by[a]; n != nil && now-time.Duration(n.seen.Load()) < t.age {
		return n.mac, true
	}
	return MAC{}, false
}

// saw reports whether a is known to be of m, and notes that it has been seen.
func (t *neighbours) saw(a netip.Addr, m MAC, now time.Duration) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.by[a]
	if n == nil || n.mac != m {
		return false
	}
	n.seen.Store(int64(now))
	return true
}

// verdict is what became of a claim to an address.
type verdict uint8

const (
	held    verdict = iota // it is the claimer's
	taken                  // it is somebody else's
	crowded                // there is no room
)

// claim gives a to m, unless it is another's who is still there; given says that it was
// m's by right, whoever used it before.
func (t *neighbours) claim(a netip.Addr, m MAC, given bool, now time.Duration) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.by[a]; n != nil {
		if n.mac != m {
			if !given && now-time.Duration(n.seen.Load()) < t.age {
				return taken
			}
			t.drop(a, n)
		} else {
			n.seen.Store(int64(now))
			return held
		}
	}
	if own := t.of[m]; len(own) >= t.mostOf { // at the cost of nobody else
		oldest := slices.MinFunc(own, func(x, y netip.Addr) int {
			return cmp.Compare(t.by[x].seen.Load(), t.by[y].seen.Load())
		})
		t.drop(oldest, t.by[oldest])
	}
	if len(t.by) >= t.most && !t.sweep(now) {
		return crowded
	}
	n := &neighbour{mac: m}
	n.seen.Store(int64(now))
	t.by[a], t.of[m] = n, append(t.of[m], a)
	return held
}

// sweep makes room of what is old, at most once a second.
func (t *neighbours) sweep(now time.Duration) bool {
	if now-t.swept < time.Second {
		return false
	}
	t.swept = now
	for a, n := range t.by {
		if now-time.Duration(n.seen.Load()) >= t.age {
			t.drop(a, n)
		}
	}
	return len(t.by) < t.most
}

// drop forgets an address.
func (t *neighbours) drop(a netip.Addr, n *neighbour) {
	delete(t.by, a)
	own := slices.DeleteFunc(t.of[n.mac], func(b netip.Addr) bool { return a == b })
	if len(own) == 0 {
		delete(t.of, n.mac)
	} else {
		t.of[n.mac] = own
	}
}

// Neighbour is an address on the segment.
type Neighbour struct {
	// Addr is the address, MAC where it is.
	Addr netip.Addr
	MAC  MAC
	// Quiet is for how long nothing has come from it.
	Quiet time.Duration
}

// Neighbours returns the addresses of guests that are known, in order.
func (c *Conn) Neighbours() []Neighbour {
	t, now := c.table, c.now()
	t.mu.RLock()
	var all []Neighbour
	for a, n := range t.by {
		all = append(all, Neighbour{a, n.mac, now - time.Duration(n.seen.Load())})
	}
	t.mu.RUnlock()
	slices.SortFunc(all, func(x, y Neighbour) int { return x.Addr.Compare(y.Addr) })
	return all
}

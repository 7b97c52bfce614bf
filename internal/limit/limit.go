package limit

import (
	"net/netip"
	"sync"
)

// Small is how many places a source may hold and still count as a small one,
// for which the reserve is kept.
const Small = 16

// Config holds the limits, in places. A value of 0 or less sets no limit.
type Config struct {
	Total          int // of the whole table
	PerSource      int // of one source key
	PerDestination int // of one destination address and port
}

// Verdict is the answer to Acquire.
type Verdict uint8

// The verdicts. All but OK leave the table as it was.
const (
	OK          Verdict = iota // a place was taken; Release gives it back
	Total                      // the table, or the part open to this source, is full
	Source                     // the source holds all it may
	Destination                // the destination, or the part open to this source, is full
)

// String returns the verdict's name.
func (v Verdict) String() string {
	switch v {
	case OK:
		return "ok"
	case Total:
		return "total"
	case Source:
		return "source"
	case Destination:
		return "destination"
	}
	return "invalid"
}

// Stats is the account of a Table. Acquired = Released + Held at any moment.
type Stats struct {
	Held     int    // places taken now
	Acquired uint64 // places ever taken
	Released uint64 // places ever given back
	Refused  uint64 // times that Acquire said anything but OK
}

// Table hands out places. One eighth of the total, and of each destination, is
// kept for sources that hold fewer than 16, so that one busy source never takes
// the last. Its methods may be called at once; none waits or calls out.
type Table struct {
	cfg Config
	key func(netip.Addr) netip.Prefix

	mu    sync.Mutex // a leaf: nothing is called under it
	stats Stats
	// The maps hold only what is held, so the total bounds them too.
	bySource map[netip.Prefix]int
	byDest   map[netip.AddrPort]int // nil without a limit per destination
}

// New returns an empty table. The key says which sources share their places;
// nil is DefaultKey. It must be a pure function.
func New(cfg Config, key func(netip.Addr) netip.Prefix) *Table {
	if key == nil {
		key = DefaultKey
	}
	t := &Table{cfg: cfg, key: key, bySource: make(map[netip.Prefix]int)}
	if cfg.PerDestination > 0 {
		t.byDest = make(map[netip.AddrPort]int)
	}
	return t
}

// DefaultKey makes each IPv4 address a source of its own, and each IPv6 /64,
// because a host on IPv6 commonly has a /64 to choose its addresses from.
func DefaultKey(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap(); a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // without a zone, and the zero Prefix for a zero Addr
	return p
}

// Acquire takes a place for a flow from src to dst, or says which limit forbids
// it. The source's own limit is named first, then the destination's.
func (t *Table) Acquire(src netip.Addr, dst netip.AddrPort) Verdict {
	v, _ := t.AcquireBeside(src, dst)
	return v
}

// AcquireBeside is Acquire, and returns how many places were held before: of the
// destination, or of all if there is no limit per destination.
func (t *Table) AcquireBeside(src netip.Addr, dst netip.AddrPort) (v Verdict, others int) {
	k := t.key(src)
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.bySource[k]
	others = t.stats.Held
	if t.byDest != nil {
		others = t.byDest[dst]
	}
	switch {
	case t.cfg.PerSource > 0 && mine >= t.cfg.PerSource:
		v = Source
	case t.cfg.PerDestination > 0 && others >= open(t.cfg.PerDestination, mine):
		v = Destination
	case t.cfg.Total > 0 && t.stats.Held >= open(t.cfg.Total, mine):
		v = Total
	}
	if v != OK {
		t.stats.Refused++
		return v, others
	}
	t.bySource[k] = mine + 1
	if t.byDest != nil {
		t.byDest[dst]++
	}
	t.stats.Held++
	t.stats.Acquired++
	return OK, others
}

// open returns how many of n places may be taken when somebody who holds held
// asks for one more.
func open(n, held int) int {
	if held < Small {
		return n
	}
	return n - n/8
}

// Release gives back a place that Acquire with the same arguments took. Giving
// back what was not taken panics: the account would be wrong from then on.
func (t *Table) Release(src netip.Addr, dst netip.AddrPort) {
	k := t.key(src)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bySource[k] == 0 || t.byDest != nil && t.byDest[dst] == 0 {
		panic("limit: release of a place that is not held")
	}
	decrement(t.bySource, k)
	if t.byDest != nil {
		decrement(t.byDest, dst)
	}
	t.stats.Held--
	t.stats.Released++
}

func decrement[K comparable](m map[K]int, k K) {
	if n := m[k]; n > 1 {
		m[k] = n - 1
	} else {
		delete(m, k)
	}
}

// Stats returns the account as of now.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Holds returns how many places the source key of src holds.
func (t *Table) Holds(src netip.Addr) int {
	k := t.key(src)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bySource[k]
}

// SetConfig changes the limits. What holds more keeps it, and gets no more. A limit per
// destination stays off in a table that was made without one, since nothing was counted.
func (t *Table) SetConfig(cfg Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byDest == nil {
		cfg.PerDestination = 0
	}
	t.cfg = cfg
}

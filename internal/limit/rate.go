package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// rateBuckets bounds the memory of a Rate, whatever addresses are forged: sources that
// share a bucket share its rate.
const rateBuckets = 256

// Rate lets so many things of one source happen each second, and so many at once. Its
// methods may be called at once; none waits or calls out.
type Rate struct {
	perSecond, burst float64
	key              func(netip.Addr) netip.Prefix
	seed             maphash.Seed

	mu      sync.Mutex // a leaf
	buckets [rateBuckets]bucket
}

// bucket holds what was spent of the burst, at a time.
type bucket struct {
	spent float64
	at    time.Time
}

// NewRate returns a Rate of perSecond things for each source, burst of them at once.
// The key says which sources share it; nil is DefaultKey. It must be a pure function.
func NewRate(perSecond, burst int, key func(netip.Addr) netip.Prefix) *Rate {
	if key == nil {
		key = DefaultKey
	}
	return &Rate{perSecond: float64(perSecond), burst: float64(burst), key: key, seed: maphash.MakeSeed()}
}

// Allow spends one of the source a's, if there is one left now. A clock that goes
// back gives nothing.
func (r *Rate) Allow(a netip.Addr, now time.Time) bool {
	b := r.bucket(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := now.Sub(b.at); d > 0 {
		b.spent = max(0, b.spent-d.Seconds()*r.perSecond)
		b.at = now
	}
	if b.spent > r.burst-1 {
		return false
	}
	b.spent++
	return true
}

// bucket returns the bucket of a's source. mu guards what is in it.
func (r *Rate) bucket(a netip.Addr) *bucket {
	return &r.buckets[maphash.Comparable(r.seed, r.key(a))%rateBuckets]
}

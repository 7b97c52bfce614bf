package udp

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Unreachables that one source may cause each second, and at once: enough for a
// port scan of a few hosts to look right, too few to be of use against anyone
// (RFC 1812 4.3.2.8, RFC 4443 2.4).
const (
	icmpRate  = 100
	icmpBurst = 100
	// icmpBuckets bounds the memory, whatever addresses are forged: sources that
	// share a bucket share its rate.
	icmpBuckets = 256
)

// ration is the rate limit of the ICMP errors that a table sends.
type ration struct {
	seed maphash.Seed

	mu      sync.Mutex
	buckets [icmpBuckets]icmpBucket
}

type icmpBucket struct {
	spent float64 // of icmpBurst
	at    int64   // time of spent, in nanoseconds
}

// bucket returns the bucket of a source. r.mu guards what is in it.
func (r *ration) bucket(source netip.Prefix) *icmpBucket {
	return &r.buckets[maphash.Comparable(r.seed, source)%icmpBuckets]
}

// allow takes one from source's ration, if there is one left.
func (r *ration) allow(source netip.Prefix, now int64) bool {
	b := r.bucket(source)
	r.mu.Lock()
	defer r.mu.Unlock()
	b.spent = max(0, b.spent-float64(now-b.at)/float64(time.Second)*icmpRate)
	b.at = now
	if b.spent > icmpBurst-1 {
		return false
	}
	b.spent++
	return true
}

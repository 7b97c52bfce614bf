package forward

import (
	"sync/atomic"
	"time"

	"l3extract/stack"
)

// One ticker looks at all relays, so that an idle connection costs no timer and
// a byte that moves costs nothing at all.

// longestSweep bounds by how much a relay may outlive its timeout.
const longestSweep = 30 * time.Second

// sweepPeriod returns how often sweep has to run, 0 for never.
func (n *session) sweepPeriod() time.Duration {
	shortest := n.idle
	if n.halfIdle > 0 && (shortest == 0 || n.halfIdle < shortest) {
		shortest = n.halfIdle
	}
	if shortest == 0 {
		return 0
	}
	return max(time.Millisecond, min(shortest/8, longestSweep))
}

// sweep ends the relays on which nothing has moved for too long.
func (n *session) sweep(now time.Time) {
	for _, f := range n.all() {
		if r, ok := f.(idler); ok && r.idleFor(now, n.idle, n.halfIdle) {
			n.stats.idle.Add(1)
			f.stop(stack.Idle)
		}
	}
}

// idler is a flow that ends when nothing moves for too long.
type idler interface {
	ender
	idleFor(now time.Time, full, half time.Duration) bool
}

// activity tells how long nothing has moved.
type activity struct {
	half atomic.Bool // one direction has ended

	// Used by sweep only.
	moved uint64
	was   bool // half
	since time.Time
}

// halved reports whether one direction has ended.
func (a *activity) halved() bool { return a.half.Load() }

// idleFor implements idler.
func (r *relay) idleFor(now time.Time, full, half time.Duration) bool {
	return r.activity.idleFor(r.st.FlowInfo(), now, full, half)
}

// idleFor reports whether nothing of f has moved for as long as a relay may be idle:
// full, or half once one direction has ended. 0 is for ever.
func (a *activity) idleFor(f stack.Flow, now time.Time, full, half time.Duration) bool {
	moved, halved := f.In+f.Out, a.halved()
	if a.since.IsZero() || moved != a.moved || halved != a.was {
		a.moved, a.was, a.since = moved, halved, now
		return false
	}
	limit := full
	if halved {
		limit = half
	}
	return limit > 0 && now.Sub(a.since) >= limit
}

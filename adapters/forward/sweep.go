package forward

import (
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
		r, ok := f.(*relay)
		if !ok {
			continue
		}
		if r.idleFor(now, n.idle, n.halfIdle) {
			n.stats.idle.Add(1)
			_ = r.st.ResetCause(stack.Idle)
		}
	}
}

// idleFor reports whether nothing has moved for as long as a relay may be idle:
// full, or half once one direction has ended. 0 is for ever.
func (r *relay) idleFor(now time.Time, full, half time.Duration) bool {
	i := r.st.FlowInfo()
	moved, halved := i.In+i.Out, r.half.Load()
	if r.since.IsZero() || moved != r.moved || halved != r.halved {
		r.moved, r.halved, r.since = moved, halved, now
		return false
	}
	limit := full
	if halved {
		limit = half
	}
	return limit > 0 && now.Sub(r.since) >= limit
}

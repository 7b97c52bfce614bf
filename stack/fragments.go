package stack

import (
	"sync"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// What the engine's reassembly may hold of one IP version, in bytes, and for how
// long it keeps fragments whose others do not come. Both are the engine's own
// constants; it does not tell what it holds now.
const (
	reassemblySize  = 4 << 20
	reassemblyTime  = 60 * time.Second
	reassemblyTime4 = 30 * time.Second // IPv4
)

// reassembly takes what the engine's reassembly may hold out of the memory budget
// for as long as there are fragments, one share for each IP version, and sees to it
// that no source holds more than its part of that.
type reassembly struct {
	stack *Stack

	partials [2]partials // IPv4, IPv6; the reader's
	current  *partials   // of the fragment that the engine is looking at, nil if it is none

	mu     sync.Mutex
	ended  bool
	shares [2]struct {
		held  bool
		last  time.Time // when a fragment came
		timer Timer     // that looks whether the share is still needed
	}
}

func (r *reassembly) init(s *Stack) {
	r.stack = s
	r.partials[0].init(reassemblyTime4)
	r.partials[1].init(reassemblyTime)
}

// admit says why a fragment may not go to the engine, or None. It runs on the reader.
func (r *reassembly) admit(p *packet.Packet) drop.Cause {
	i := 0
	if p.Version == 6 {
		i = 1
	}
	if !r.reserve(i) {
		return drop.FragmentMemory
	}
	r.current = &r.partials[i]
	return r.current.admit(p, r.stack.cfg.SourceKey(p.Src), r.stack.cfg.Clock.Now())
}

// whole is told that the engine has made a packet of the fragment that was admitted
// last. What it makes of a packet with options comes here, too, and is none.
func (r *reassembly) whole() {
	if r.current != nil {
		r.current.whole()
	}
}

// reserve takes the share of an IP version, if it is not held. The mutex is only
// shared with the timer that gives a share back.
func (r *reassembly) reserve(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	share := &r.shares[i]
	if r.ended {
		return false
	}
	if !share.held {
		if !r.stack.budget.Take(budget.Reassembly, reassemblySize) {
			return false
		}
		share.held = true
		share.timer = r.stack.cfg.Clock.AfterFunc(reassemblyTime, func() { r.expire(i) })
	}
	share.last = r.stack.cfg.Clock.Now()
	return true
}

// expire gives a share back when no fragment has come for long enough, and else
// looks again later.
func (r *reassembly) expire(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	share := &r.shares[i]
	if r.ended {
		return
	}
	left := reassemblyTime - r.stack.cfg.Clock.Now().Sub(share.last)
	if left > 0 {
		share.timer = r.stack.cfg.Clock.AfterFunc(left, func() { r.expire(i) })
		return
	}
	share.held = false
	r.stack.budget.Give(budget.Reassembly, reassemblySize)
}

// end gives everything back. A timer that was left would keep the Stack in memory.
func (r *reassembly) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for i := range r.shares {
		share := &r.shares[i]
		if share.held {
			share.timer.Stop()
			share.held = false
			r.stack.budget.Give(budget.Reassembly, reassemblySize)
		}
	}
}

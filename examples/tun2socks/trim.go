package main

import (
	"runtime/debug"
	"sync"
	"time"

	"l3extract/stack"
)

// trimmer gives memory back to the system after a rush: when many flows have come, what
// their handshakes left behind, and when they have gone, what they held. The runtime by
// itself keeps twice what was last in use until it collects again, which takes a program
// that has become idle two minutes, and then returns it slowly. It costs nothing while
// little changes.
type trimmer struct {
	free func() // debug.FreeOSMemory
	rush int    // how many flows make a rush

	mu      sync.Mutex
	live    int         // flows
	base    int         // as many when memory was last given back
	peak    int         // as many at most since
	seen    int         // as many when the timer was set
	timer   *time.Timer // nil: not set
	stopped bool
}

const (
	// trimRush is how many flows make a rush: some 10 MiB, or a fifth of -memory if that
	// is less. As much data can be in fewer, but then it is in less than leastRush.
	trimRush  = 1000
	leastRush = 100
	// trimAfter is how long their number must have stayed about the same.
	trimAfter = 2 * time.Second
)

// newTrimmer returns a trimmer for a program with so much memory, 0 for no limit.
func newTrimmer(memory int64) *trimmer {
	rush := trimRush
	if memory > 0 {
		rush = int(min(trimRush, max(leastRush, memory/5/(10<<10))))
	}
	return &trimmer{rush: rush, free: func() {
		debug.FreeOSMemory()
		debug.FreeOSMemory() // what was in a sync.Pool goes with the second collection
	}}
}

// opened and closed are callbacks of stack.Config.Trace.
func (t *trimmer) opened(stack.Flow) { t.count(1) }
func (t *trimmer) closed(stack.Flow) { t.count(-1) }

func (t *trimmer) count(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live += n
	t.peak = max(t.peak, t.live)
	if t.timer == nil && !t.stopped && t.rushed() {
		t.armLocked()
	}
}

// rushed reports whether the flows have become so many more, or less than half of so
// many.
func (t *trimmer) rushed() bool {
	return t.live >= t.base+max(t.rush, t.base/2) || t.peak >= t.rush && t.live < t.peak/2
}

func (t *trimmer) armLocked() {
	t.seen = t.live
	t.timer = time.AfterFunc(trimAfter, t.trim)
}

// trim collects, so it is seldom called.
func (t *trimmer) trim() {
	t.mu.Lock()
	t.timer = nil
	moved := max(t.live-t.seen, t.seen-t.live) > t.seen/10
	switch {
	case t.stopped || !t.rushed():
		t.mu.Unlock()
		return
	case moved: // it goes on
		t.armLocked()
		t.mu.Unlock()
		return
	}
	t.base, t.peak = t.live, t.live
	t.mu.Unlock()
	t.free()
}

// stop ends it. A trim that has begun goes on: it touches nothing of ours.
func (t *trimmer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

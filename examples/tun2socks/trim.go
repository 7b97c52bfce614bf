package main

import (
	"runtime/debug"
	"sync"
	"time"

	"l3extract/stack"
)

// trimmer gives memory back to the system after a rush. The runtime by itself keeps twice
// what was last in use until it collects again, which takes a program that has become
// idle two minutes, and then returns it slowly. It costs nothing while nothing ends.
type trimmer struct {
	free func() // debug.FreeOSMemory

	mu         sync.Mutex
	live, peak int
	timer      *time.Timer // nil: not set
	stopped    bool
}

const (
	// trimAbove is how many flows make a rush: some 10 MiB.
	trimAbove = 1000
	// trimAfter is how long after half of them have gone: the others may be about to.
	trimAfter = 5 * time.Second
)

func newTrimmer() *trimmer { return &trimmer{free: debug.FreeOSMemory} }

// opened and closed are callbacks of stack.Config.Trace.
func (t *trimmer) opened(stack.Flow) {
	t.mu.Lock()
	t.live++
	t.peak = max(t.peak, t.live)
	t.mu.Unlock()
}

func (t *trimmer) closed(stack.Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live--
	if t.peak >= trimAbove && t.live < t.peak/2 && t.timer == nil && !t.stopped {
		t.timer = time.AfterFunc(trimAfter, t.trim)
	}
}

// trim collects, so it is seldom called.
func (t *trimmer) trim() {
	t.mu.Lock()
	t.timer, t.peak = nil, t.live
	stopped := t.stopped
	t.mu.Unlock()
	if !stopped {
		t.free()
	}
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

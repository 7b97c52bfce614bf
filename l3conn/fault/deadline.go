package fault

import (
	"sync"
	"time"
)

// deadline is a time of net.Conn's kind, made to be waited for.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed once it has passed
}

func newDeadline() *deadline { return &deadline{passed: make(chan struct{})} }

// wait returns a channel that is closed once the deadline has passed; it stays
// the same when the deadline is moved before that.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// over reports whether the deadline has passed.
func (d *deadline) over() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}

// set moves the deadline; the zero time is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // the timer closes it without the lock
	}
	d.timer = nil
	over := false
	select {
	case <-d.passed:
		over = true
	default:
	}
	left := time.Until(t)
	if over && (t.IsZero() || left > 0) {
		d.passed = make(chan struct{})
	}
	switch passed := d.passed; {
	case t.IsZero():
	case left > 0:
		d.timer = time.AfterFunc(left, func() { close(passed) })
	case !over:
		close(passed)
	}
}

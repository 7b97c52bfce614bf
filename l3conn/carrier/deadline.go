package carrier

import (
	"os"
	"sync/atomic"
	"time"
)

// The two ways, as indices.
const (
	reading = iota
	writing
)

// deadline is one of a Conn's two. A carrier is told only that it has passed, and that
// it is lifted again.
type deadline struct {
	late atomic.Bool // it has passed; set under the Conn's mu

	way   int
	set   func(l *link, t time.Time) error
	timer *time.Timer // guarded by the Conn's mu
}

var past = time.Unix(1, 0)

func setRead(l *link, t time.Time) error {
	if l.caps.ReadDeadliner == nil {
		return os.ErrNoDeadline
	}
	return l.caps.ReadDeadliner.SetReadDeadline(t)
}

func setWrite(l *link, t time.Time) error {
	if l.caps.WriteDeadliner == nil {
		return os.ErrNoDeadline
	}
	return l.caps.WriteDeadliner.SetWriteDeadline(t)
}

// takeLocked tells a new carrier what there is.
func (d *deadline) takeLocked(l *link) {
	at := time.Time{}
	if d.late.Load() {
		at = past
	}
	l.able[d.way] = d.set(l, at) == nil
}

func (d *deadline) stopLocked() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// enter and leave surround a call of l; false says that the deadline has passed.
func (d *deadline) enter(l *link) bool {
	if l.able[d.way] {
		return true
	}
	l.inside[d.way].Add(1)
	if d.late.Load() { // looked at after the count, which whoever sets it looks at then
		l.inside[d.way].Add(-1)
		return false
	}
	return true
}

func (d *deadline) leave(l *link) {
	if !l.able[d.way] {
		l.inside[d.way].Add(-1)
	}
}

// SetReadDeadline implements l3conn.ReadDeadliner; it never fails.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.setDeadline(&c.read, t)
	return nil
}

// SetWriteDeadline implements l3conn.WriteDeadliner; it never fails.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.setDeadline(&c.write, t)
	return nil
}

func (c *Conn) setDeadline(d *deadline, t time.Time) {
	c.mu.Lock()
	d.stopLocked()
	left := time.Until(t)
	switch {
	case !t.IsZero() && left <= 0:
		l := c.passLocked(d)
		c.mu.Unlock()
		c.interrupt(d, l)
		return
	case d.late.Load():
		d.late.Store(false)
		if l := c.present.Load(); l != nil && l.able[d.way] {
			_ = d.set(l, time.Time{}) // it could be set
		}
	}
	if !t.IsZero() && !c.closed {
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			c.mu.Lock()
			var l *link
			if d.timer == timer { // not replaced meanwhile
				l = c.passLocked(d)
			}
			c.mu.Unlock()
			c.interrupt(d, l)
		})
		d.timer = timer
	}
	c.mu.Unlock()
}

// passLocked lets a deadline pass; interrupt then has to end the calls of l.
func (c *Conn) passLocked(d *deadline) (l *link) {
	d.late.Store(true)
	c.wakeLocked()
	return c.present.Load()
}

// interrupt ends the calls of l that the deadline is for.
func (c *Conn) interrupt(d *deadline, l *link) {
	switch {
	case l == nil:
	case l.able[d.way]:
		c.mu.Lock()
		if d.late.Load() {
			_ = d.set(l, past) // it could be set
		}
		c.mu.Unlock()
	case l.inside[d.way].Load() > 0:
		c.lose(l, errInterrupted)
	}
}

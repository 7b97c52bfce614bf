package tcp

import (
	"time"

	"l3extract/internal/fifo"
)

// deadlines is a queue of requests that all wait for the same time, so the
// first to come is the first to expire and no heap is needed.
type deadlines struct {
	wait     time.Duration // < 0: they never expire
	requests fifo.List[request]
}

func (d *deadlines) push(r *request, now time.Time) {
	r.deadline = now.Add(d.wait)
	d.requests.Push(&r.node, r)
}

// armLocked has sweep run at the given time or before. After the end nothing is
// left to wait for, and close would wait for the timer.
func (t *synTable) armLocked(at time.Time) {
	if t.closed {
		return
	}
	if !t.armed.IsZero() {
		if !at.Before(t.armed) {
			return
		}
		if !t.timer.Stop() {
			return // sweep is about to run and arms it again
		}
		t.sweeps.Done()
	}
	t.armed = at
	t.sweeps.Add(1)
	t.timer = t.env.Clock.AfterFunc(at.Sub(t.env.Clock.Now()), t.sweep)
}

// sweep ends what has waited for too long. It is run by the timer; close waits
// for it.
func (t *synTable) sweep() {
	defer t.sweeps.Done()
	var late []*request // undecided ones
	var answers []func(error)
	t.mu.Lock()
	t.armed, t.timer = time.Time{}, nil
	if t.closed {
		t.mu.Unlock()
		return
	}
	now := t.env.Clock.Now()
	for r := t.undecided.expired(now); r != nil; r = t.undecided.expired(now) {
		r.err = errDecideTimeout
		t.removeLocked(r)
		late = append(late, r)
	}
	for r := t.answering.expired(now); r != nil; r = t.answering.expired(now) {
		r.node.Remove() // what gives it up takes it out of the table
		answers = r.toGiveUp(answers, errHandshakeTimeout)
	}
	for r := t.answered.expired(now); r != nil; r = t.answered.expired(now) {
		t.removeLocked(r)
	}
	for r := t.silent.expired(now); r != nil; r = t.silent.expired(now) {
		t.removeLocked(r)
	}
	for _, d := range []*deadlines{&t.undecided, &t.answering, &t.answered, &t.silent} {
		if first := d.requests.First(); d.wait >= 0 && first != nil {
			t.armLocked(first.deadline)
		}
	}
	t.mu.Unlock()
	for _, giveUp := range answers {
		giveUp(errHandshakeTimeout)
	}
	for _, r := range late {
		r.undecidedForTooLong()
	}
}

// expired returns the first request whose time has come.
func (d *deadlines) expired(now time.Time) *request {
	first := d.requests.First()
	if d.wait < 0 || first == nil || first.deadline.After(now) {
		return nil
	}
	return first
}

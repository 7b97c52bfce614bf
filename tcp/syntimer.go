package tcp

import "time"

// deadlines is a queue of requests that all wait for the same time, so the
// first to come is the first to expire and no heap is needed.
type deadlines struct {
	wait        time.Duration // < 0: they never expire
	first, last *request
}

func (d *deadlines) push(r *request, now time.Time) {
	r.deadline = now.Add(d.wait)
	r.in, r.prev, r.next = d, d.last, nil
	if d.last != nil {
		d.last.next = r
	} else {
		d.first = r
	}
	d.last = r
}

func (r *request) unlink() {
	d := r.in
	if d == nil {
		return
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		d.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		d.last = r.prev
	}
	r.in, r.prev, r.next = nil, nil, nil
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
		r.unlink() // what gives it up takes it out of the table
		answers = r.toGiveUp(answers, errHandshakeTimeout)
	}
	for r := t.answered.expired(now); r != nil; r = t.answered.expired(now) {
		t.removeLocked(r)
	}
	for r := t.silent.expired(now); r != nil; r = t.silent.expired(now) {
		t.removeLocked(r)
	}
	for _, d := range []*deadlines{&t.undecided, &t.answering, &t.answered, &t.silent} {
		if d.wait >= 0 && d.first != nil {
			t.armLocked(d.first.deadline)
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
	if d.wait < 0 || d.first == nil || d.first.deadline.After(now) {
		return nil
	}
	return d.first
}

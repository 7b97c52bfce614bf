package tcp

import "l3extract/internal/drop"

// offer queues a pending stream for r in a lazy acceptor. It runs on the reader.
func (a *Acceptor) offer(r *request) {
	t := a.table
	s := t.ownStream(r)
	s.pending = &pending{hs: r, done: make(chan struct{})}
	t.env.Flows.Add(s.id, s)
	t.syns.mu.Lock()
	err := r.err
	if err == nil {
		r.stream = s
	}
	t.syns.mu.Unlock()
	w := waiting{s, r}
	if err != nil { // it ended before it had a stream
		s.abandon(err)
		a.places.Release(r.src.Addr(), r.dst)
	} else if !a.deliver(a.queue, w) {
		a.discard(w)
	}
}

// undecidedForTooLong ends r, which sweep has taken out of the table.
func (r *request) undecidedForTooLong() {
	t := r.table
	t.handshakes.Release(r.src.Addr(), r.dst)
	t.env.Drops.Add(drop.DecideTimeout)
	if s := r.stream; s != nil {
		s.abandon(errDecideTimeout)
	}
}

// failed reports whether a request has ended without a connection, so that
// nobody needs its stream any more.
func (r *request) failed() bool {
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	return r.err != nil
}

// establish turns pending streams into established ones for Accept, until the
// acceptor ends. It is the goroutine that the first Accept of a lazy acceptor
// starts; Table.Close waits for it.
func (a *Acceptor) establish() {
	for {
		select {
		case w := <-a.queue:
			if w.r.failed() {
				a.places.Release(w.r.src.Addr(), w.r.dst)
			} else {
				a.answer(w)
			}
		case <-a.done:
			return
		}
	}
}

// answer answers a pending stream, which nobody else has, and queues it for Accept when it
// stands.
func (a *Acceptor) answer(w waiting) {
	w.s.answerThen(func(ok bool) {
		if !ok {
			a.places.Release(w.r.src.Addr(), w.r.dst)
			return
		}
		w.r = nil
		if !a.deliver(a.ready, w) {
			a.discard(w)
		}
	})
}

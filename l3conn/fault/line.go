package fault

import (
	"net"
	"os"
	"sync"
	"time"
)

// line is one direction: its dice, its counters and, where packets take time or
// wait for a reader, the packets under way. One goroutine at a time takes.
type line struct {
	d     Direction
	timed bool
	lasts bool // err stays once it was taken
	epoch time.Time

	note   chan struct{} // cap 1: the front of queue, or err, has changed
	room   chan struct{} // cap 1: held has become less
	closed chan struct{} // closed by close

	mu     sync.Mutex // a leaf; guards what follows
	dice   dice
	counts Counts
	queue  heap // at most d.Hold bytes: beyond, dropped and counted, or nothing is read
	held   int  // bytes of memory in queue or taken
	seq    uint64
	free   int64 // when the bottleneck is idle again, in ns since epoch
	last   int64 // when the last packet that is in order leaves
	err    error // what follows the packets in queue
	ended  bool  // closed is closed
}

func (l *line) init(d Direction, seed, stream uint64) {
	l.d, l.timed, l.epoch = d, d.timed(), time.Now()
	l.dice = newDice(&l.d, seed, stream)
	l.note, l.room, l.closed = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
}

func (l *line) now() int64 { return int64(time.Since(l.epoch)) }

// judgeLocked decides about a packet of size bytes: what is to be done to it,
// how many of it go on, and when they leave. Those are under way from now on. now
// was read under the lock: an older one would look like a queue.
func (l *line) judgeLocked(size int, now int64) (f fate, copies int, due int64) {
	l.counts.Packets++
	f = l.dice.throw()
	if l.d.Rate > 0 {
		took := int64(float64(size) * 8e9 / float64(l.d.Rate))
		wait := max(l.free-now, 0)
		if wait > 0 && float64(wait+took)*float64(l.d.Rate) > float64(l.d.Queue)*8e9 {
			l.counts.QueueFull++
			return f, 0, 0
		}
		now += wait + took
		l.free = now
	}
	switch {
	case f.burst:
		l.counts.Burst++
		return f, 0, 0
	case f.drop:
		l.counts.Dropped++
		return f, 0, 0
	}
	copies = 1
	if f.duplicate {
		copies = 2
		l.counts.Duplicated++
	}
	if f.corrupt {
		l.counts.Corrupted++
	}
	due = max(now+int64(l.d.Delay+f.jitter), l.last)
	if f.reorder {
		l.counts.Reordered++
		due += int64(l.d.ReorderDelay)
	} else {
		l.last = due
	}
	l.counts.UnderWay += uint64(copies)
	return f, copies, due
}

// pushLocked decides about p and keeps what goes on. own, if not nil, is where
// p lies and the line's from now on; else p is copied.
func (l *line) pushLocked(p []byte, own *held, now int64) {
	f, copies, due := l.judgeLocked(len(p), now)
	if copies > 0 && own == nil {
		own = newHeld(p)
	}
	if copies == 0 {
		if own != nil {
			own.free()
		}
		return
	}
	if f.corrupt {
		f.flip(own.packet())
	}
	var second *held
	if copies == 2 {
		second = newHeld(own.packet())
	}
	l.keepLocked(own, due)
	if second != nil {
		l.keepLocked(second, due)
	}
}

func (l *line) keepLocked(h *held, due int64) {
	// A line that takes no time is not read from, rather than overflows; see wait.
	if l.timed && l.held+len(h.buf) > l.d.Hold {
		l.counts.HoldFull++
		l.counts.UnderWay--
		h.free()
		return
	}
	h.due, h.seq = due, l.seq
	l.seq++
	l.held += len(h.buf)
	l.queue.push(h)
	if l.queue[0] == h {
		signal(l.note)
	}
}

// signal leaves a note, if there is none.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take waits until packets are due, and moves them into the slice, in order. They
// are under way until they are settled. After the last packet comes the error of
// the line, at once those of a deadline, which may be nil, and of close.
func (l *line) take(into []*held, d *deadline) (int, error) {
	var timer *time.Timer
	for {
		var passed <-chan struct{}
		if d != nil {
			passed = d.wait()
		}
		n, wait, err := l.due(into, passed)
		if n > 0 || err != nil {
			return n, err
		}
		var due <-chan time.Time
		if wait > 0 {
			if timer == nil {
				timer = time.NewTimer(wait)
				defer timer.Stop()
			} else {
				timer.Reset(wait)
			}
			due = timer.C
		}
		select {
		case <-due:
		case <-l.note:
		case <-passed:
		case <-l.closed:
		}
	}
}

// due is take without waiting: it says how long there is to wait, 0 for a note.
func (l *line) due(into []*held, passed <-chan struct{}) (n int, wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, 0, net.ErrClosed
	}
	select {
	case <-passed:
		return 0, 0, os.ErrDeadlineExceeded
	default:
	}
	now := l.now()
	for n < len(into) && len(l.queue) > 0 && l.queue[0].due <= now {
		into[n] = l.queue.pop()
		n++
	}
	switch {
	case n > 0:
	case len(l.queue) > 0:
		wait = time.Duration(l.queue[0].due - now)
	case l.err != nil:
		err = l.err
		if !l.lasts {
			l.err = nil
		}
	}
	return n, wait, err
}

// outcome is what became of packets that were under way.
type outcome struct{ delivered, refused, short int }

// settle ends packets that were taken, and frees them.
func (l *line) settle(taken []*held, o outcome) {
	l.mu.Lock()
	for _, h := range taken {
		l.held -= len(h.buf)
	}
	l.countLocked(o)
	l.mu.Unlock()
	signal(l.room)
	for i, h := range taken {
		h.free()
		taken[i] = nil
	}
}

func (l *line) countLocked(o outcome) {
	l.counts.UnderWay -= uint64(o.delivered + o.refused + o.short)
	l.counts.Delivered += uint64(o.delivered)
	l.counts.Refused += uint64(o.refused)
	l.counts.Short += uint64(o.short)
}

// wait waits until the line has room, if that is what it does when it is full;
// false means that it is closed.
func (l *line) wait() bool {
	for {
		l.mu.Lock()
		full, ended := !l.timed && l.held >= l.d.Hold, l.ended
		l.mu.Unlock()
		if ended || !full {
			return !ended
		}
		select {
		case <-l.room:
		case <-l.closed:
		}
	}
}

// fail sets the error that follows what is in the queue. With drop nothing of
// that is taken any more: it is refused.
func (l *line) fail(err error, drop bool) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	if drop {
		l.countLocked(outcome{refused: l.emptyLocked()})
	}
	l.mu.Unlock()
	signal(l.note)
}

// failed returns the error of the line: it has failed or was closed.
func (l *line) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return net.ErrClosed
	}
	return l.err
}

// close drops what is in the queue and ends take and wait. It may be called again.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	n := uint64(l.emptyLocked())
	l.counts.UnderWay -= n
	l.counts.Closed += n
	close(l.closed)
}

// emptyLocked frees what is in the queue, and returns the number of packets.
func (l *line) emptyLocked() int {
	n := len(l.queue)
	for _, h := range l.queue {
		l.held -= len(h.buf)
		h.free()
	}
	l.queue = nil
	return n
}

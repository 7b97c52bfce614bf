package udp

import (
	"container/heap"
	"sync"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
)

const (
	portDNS = 53

	// sweepPause is the shortest time between two sweeps, so that ten thousand
	// Sockets that expire one after another cost four wake-ups a second.
	sweepPause = int64(250 * time.Millisecond)
	// sweepBatch is how many Sockets expire under one hold of the table's mutex,
	// which the goroutine that reads the conn takes too.
	sweepBatch = 128
)

// expiry ends idle Sockets with one timer for a whole table. It is a heap by the
// time at which a Socket could be idle long enough. Traffic does not touch it:
// when a Socket's time comes, it is looked at and perhaps put back. The table's
// mutex guards it.
type expiry struct {
	heap    sockets
	cancel  func() bool // stops the timer; nil while there is none
	at      int64       // when the timer fires
	swept   int64       // when it last did
	stopped bool

	running sync.WaitGroup // timers that are to fire, for Close
}

// schedule puts s, which is not in the heap, into it.
func (t *Table) schedule(s *Socket) {
	d := t.timeout(s)
	if d < 0 {
		return
	}
	s.place.due = s.lastUsed() + int64(d)
	heap.Push(&t.expiry.heap, s)
	t.arm()
}

// arm makes sure that the timer fires when the first Socket is due.
func (t *Table) arm() {
	e := &t.expiry
	if e.stopped || len(e.heap) == 0 {
		return
	}
	at := max(e.heap[0].place.due, e.swept+sweepPause)
	if e.cancel != nil {
		if e.at <= at || !e.halt() {
			return // soon enough, or sweep is waiting for the mutex already
		}
	}
	e.running.Add(1) // for sweep
	e.at = at
	e.cancel = t.env.AfterFunc(time.Duration(max(0, at-t.now())), t.sweep)
}

// halt stops the timer, if it is not too late for that.
func (e *expiry) halt() bool {
	if e.cancel == nil || !e.cancel() {
		return false
	}
	e.cancel = nil
	e.running.Done()
	return true
}

// stop ends the expiry for good.
func (e *expiry) stop() {
	e.stopped = true
	e.halt()
}

// remove takes s out of the heap, if it is there.
func (e *expiry) remove(s *Socket) {
	if s.place.heap >= 0 {
		heap.Remove(&e.heap, s.place.heap)
	}
}

// sweep ends the Sockets that are idle. It runs on the timer's goroutine.
func (t *Table) sweep() {
	defer t.expiry.running.Done()
	for more := true; more; {
		var idle []*Socket
		idle, more = t.takeIdle()
		for _, s := range idle {
			s.end(flow.Idle, drop.UDPClosed)
		}
	}
}

// takeIdle takes some idle Sockets out of the table. Unless there are more, it
// arms the timer anew.
func (t *Table) takeIdle() (idle []*Socket, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &t.expiry
	now := t.now()
	for looked := 0; len(e.heap) > 0 && !e.stopped && e.heap[0].place.due <= now; looked++ {
		if looked == sweepBatch {
			return idle, true
		}
		s := e.heap[0]
		if due := s.lastUsed() + int64(t.timeout(s)); due > now {
			s.place.due = due
			heap.Fix(&e.heap, 0)
			continue
		}
		t.removeLocked(s, now)
		idle = append(idle, s)
	}
	e.swept, e.cancel = now, nil
	t.arm()
	return idle, false
}

// timeout returns how long s may be idle as things stand; negative is for ever.
// It only grows, but for SetIdleTimeout: the heap relies on that.
func (t *Table) timeout(s *Socket) time.Duration {
	p := &s.place
	switch {
	case s.kind != accepted:
		return -1
	case p.idle != 0:
		return p.idle
	case t.cfg.IdleTimeout < 0:
		return -1
	case !p.noDNS && t.cfg.DNSIdleTimeout >= 0:
		return min(t.cfg.IdleTimeout, t.cfg.DNSIdleTimeout)
	case !p.many && s.datagramsOut.Load() <= 1 && t.cfg.OneShotTimeout >= 0:
		return min(t.cfg.IdleTimeout, t.cfg.OneShotTimeout)
	}
	return t.cfg.IdleTimeout
}

// lastUsed returns when s was last used in the sense of its idle timeout.
func (s *Socket) lastUsed() int64 { return max(s.place.last, s.place.written.Load()) }

// setIdle gives s a timeout of its own.
func (t *Table) setIdle(s *Socket, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.place.idle = d
	if s.place.in {
		t.expiry.remove(s)
		t.schedule(s)
	}
}

// sockets implements heap.Interface, the first due on top.
type sockets []*Socket

func (h sockets) Len() int           { return len(h) }
func (h sockets) Less(i, j int) bool { return h[i].place.due < h[j].place.due }
func (h sockets) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place.heap, h[j].place.heap = i, j
}

func (h *sockets) Push(x any) {
	s := x.(*Socket)
	s.place.heap = len(*h)
	*h = append(*h, s)
}

func (h *sockets) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	s.place.heap = -1
	return s
}

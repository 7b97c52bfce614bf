package l3conn

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// queue is one direction of a pipe: a ring of packets, bounded; writers wait
// (block) while it is full, unless direct refuses. It has one lock, which is a leaf.
type queue struct {
	mu                 sync.Mutex
	readable, writable *sync.Cond
	slots              [][]byte  // a ring; a slot keeps its memory for the next packet
	heads              []Segment // of a SegmentPipe: what is in the slot beside its bytes
	takes              Features  // of a SegmentPipe: what its reader has enabled
	direct             bool      // writers do not wait but lose the packet
	head, used         int
	readClosed         bool // by the end that reads
	writeClosed        bool // by the end that writes
	readDeadline       deadline
	writeDeadline      deadline
}

func newQueue(packets int) *queue {
	q := &queue{slots: make([][]byte, packets)}
	q.readable, q.writable = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
	return q
}

func (q *queue) waitReadLocked() error {
	for {
		switch {
		case q.readClosed:
			return opError("read", net.ErrClosed)
		case q.readDeadline.passed:
			return opError("read", os.ErrDeadlineExceeded)
		case q.used > 0:
			return nil
		case q.writeClosed:
			return io.EOF
		}
		q.readable.Wait()
	}
}

func (q *queue) waitWriteLocked() error {
	for {
		switch {
		case q.writeClosed:
			return opError("write", net.ErrClosed)
		case q.readClosed:
			return opError("write", syscall.EPIPE)
		case q.writeDeadline.passed:
			return opError("write", os.ErrDeadlineExceeded)
		case q.used < len(q.slots):
			return nil
		case q.direct:
			return ErrNoBuffers
		}
		q.writable.Wait()
	}
}

// popLocked moves the first packet into b; -1 means that it did not fit.
func (q *queue) popLocked(b []byte) int {
	s, i := q.nextLocked()
	if len(s) > len(b) {
		return -1
	}
	if q.heads != nil && !Features(0).Takes(&q.heads[i]) {
		return -1 // came for a reader who took segments
	}
	return copy(b, s)
}

// nextLocked takes the first packet out; it is valid until the next push.
func (q *queue) nextLocked() (p []byte, slot int) {
	slot = q.head
	q.head = (q.head + 1) % len(q.slots)
	q.used--
	return q.slots[slot], slot
}

func (q *queue) pushLocked(b []byte) {
	if len(b) == 0 {
		return // carries nothing, as the contract says
	}
	i := (q.head + q.used) % len(q.slots)
	q.slots[i] = append(q.slots[i][:0], b...)
	if q.heads != nil {
		q.heads[i] = Segment{}
	}
	q.used++
}

func (q *queue) closeRead() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.readClosed, q.used, q.slots = true, 0, make([][]byte, 1)
	q.readDeadline.stop()
	q.wakeLocked()
}

func (q *queue) closeWrite() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writeClosed = true
	q.writeDeadline.stop()
	q.wakeLocked()
}

func (q *queue) wakeLocked() {
	q.readable.Broadcast()
	q.writable.Broadcast()
}

// deadline is one of a queue's two; its fields are guarded by the queue's lock.
type deadline struct {
	timer  *time.Timer
	set    uint64 // tells a timer that fires late that it was replaced
	passed bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.set++
}

func (q *queue) setDeadline(d *deadline, t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		q.wakeLocked()
		return
	}
	if q.readClosed || q.writeClosed {
		return // Close has ended, or will end, every wait; keep no timer for it
	}
	set := d.set
	d.timer = time.AfterFunc(left, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if d.set == set {
			d.passed = true
			q.wakeLocked()
		}
	})
}

func opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "l3pipe", Err: err}
}

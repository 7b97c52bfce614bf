package link

import (
	"sync"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// Class says who made a packet, which decides what happens when the queue is
// full.
type Class uint8

const (
	// Data is TCP. Its share lies above the sum of what all send buffers may
	// hold, so that it is not dropped in normal work.
	Data Class = iota
	// Control is what the reader answers by itself: RST, ICMP. Its share is
	// small, and when it is full the packet is dropped and counted.
	Control
	// Datagram is UDP: dropped and counted when its share is full.
	Datagram
	classes
)

// The shares of the queue, in bytes of frame memory.
const (
	// softData is where streams are asked to wait: four round trips of 1 ms at
	// 4 Gbit/s are enough to keep a writer busy, and more is only delay.
	softData = 2 << 20
	// controlShare is some 1 300 resets: more per wake-up of the writer is a flood.
	controlShare = 256 << 10
	// frameFactor is how much larger a frame may be than the payload in it: twice
	// for the sizes of frames, and twice for the headers of a segment of a hundred
	// bytes. Beyond it go retransmissions of what waits here already, and floods of
	// yet smaller segments.
	frameFactor = 4
	// datagramShare is a burst of some 2 800 datagrams of 1 500 bytes.
	datagramShare = 4 << 20
)

// queue is the transmit queue: what it cannot hold is dropped and counted, and
// nobody ever waits for room in it. Its memory is bounded by the shares above, and
// by frameFactor times what the budget grants for sending.
type queue struct {
	drops *drop.Counters
	// granted says how many bytes send buffers hold together.
	granted func() int64

	mu         sync.Mutex
	head, tail *Frame
	bytes      [classes]int64
	closed     bool          // drop mode: nothing new is taken
	uncongest  chan struct{} // closed when Data falls below softData/2; nil while it is not above softData
	wake       chan struct{} // cap 1: the writer has something to do
}

func newQueue(drops *drop.Counters, granted func() int64) *queue {
	return &queue{drops: drops, granted: granted, wake: make(chan struct{}, 1)}
}

var queueFull = [classes]drop.Cause{drop.DataQueueFull, drop.ControlQueueFull, drop.DatagramQueueFull}

// push takes f or drops it.
func (q *queue) push(f *Frame, c Class) bool {
	size := int64(f.size)
	q.mu.Lock()
	cause := drop.None
	switch {
	case q.closed:
		cause = drop.Closed
	case c == Control && q.bytes[c]+size > controlShare,
		c == Datagram && q.bytes[c]+size > datagramShare,
		c == Data && q.bytes[c] > softData && q.bytes[c]+size > softData+frameFactor*q.granted():
		cause = queueFull[c]
	}
	if cause != drop.None {
		q.mu.Unlock()
		lost := uint64(1)
		if f.seg.Kind == l3conn.SegmentUDP {
			lost = packets(&f.seg, f.n)
		}
		q.drops.AddN(cause, lost)
		f.free()
		return false
	}
	f.cls = c
	q.bytes[c] += size
	if q.tail == nil {
		q.head = f
	} else {
		q.tail.next = f
	}
	q.tail = f
	if c == Data && q.uncongest == nil && q.bytes[c] > softData {
		q.uncongest = make(chan struct{})
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// pop takes up to len(out) frames, and with the first any that fit writeBytes,
// without waiting. Their bytes count until done.
func (q *queue) pop(out []*Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, left := 0, writeBytes
	for n < len(out) && left > 0 && q.head != nil {
		f := q.head
		left -= f.size
		q.head = f.next
		f.next = nil
		out[n] = f
		n++
	}
	if q.head == nil {
		q.tail = nil
	}
	return n
}

// done frees frames that were written or dropped.
func (q *queue) done(frames []*Frame) {
	q.mu.Lock()
	for _, f := range frames {
		q.bytes[f.cls] -= int64(f.size)
	}
	if q.uncongest != nil && q.bytes[Data] < softData/2 {
		close(q.uncongest)
		q.uncongest = nil
	}
	q.mu.Unlock()
	for i, f := range frames {
		f.free()
		frames[i] = nil
	}
}

// congested returns a channel that is closed once streams may write again.
func (q *queue) congested() (<-chan struct{}, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.uncongest, q.uncongest != nil
}

// close refuses what comes from now on; what waits may still be written.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	if q.uncongest != nil {
		close(q.uncongest)
		q.uncongest = nil
	}
	q.mu.Unlock()
}

// empty reports whether everything was written.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes == [classes]int64{}
}

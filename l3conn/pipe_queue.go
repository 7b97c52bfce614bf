package l3conn

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// queue is one direction of a pipe: a ring of packets, bounded; writers wait
// (block) while it is full, unless direct refuses.
//
// Readers exclude each other by rmu and writers by wmu, and one of each moves
// packets at once: a lock that both take for every packet costs two processors more
// than the packet. mu is for waiting and ending; it is taken after the others and is
// a leaf. Who waits holds the lock of its side.
type queue struct {
	rmu      sync.Mutex
	tailSeen uint64        // of tail, guarded by rmu
	head     atomic.Uint64 // packets read, ever; goes on under rmu
	_        [64]byte

	wmu      sync.Mutex
	headSeen uint64        // of head, guarded by wmu
	tail     atomic.Uint64 // packets written, ever; goes on under wmu
	_        [64]byte

	slots  [][]byte      // a ring; a slot keeps its memory for the next packet
	heads  []Segment     // of a SegmentPipe: what is in the slot beside its bytes
	takes  atomic.Uint32 // of a SegmentPipe: the Features that its reader has enabled
	direct bool          // writers do not wait but lose the packet
	state  atomic.Uint32 // the flags below; set under mu

	readerWaits, writerWaits atomic.Bool // set under mu

	mu                          sync.Mutex
	readable, writable          *sync.Cond
	readDeadline, writeDeadline deadline
}

// What has happened to a queue.
const (
	readClosed  uint32 = 1 << iota // by the end that reads
	writeEnding                    // the end that writes is closing: no write begins
	writeClosed                    // by the end that writes; none is under way
	readLate                       // the deadlines have passed
	writeLate
)

func newQueue(packets int) *queue {
	q := &queue{slots: make([][]byte, packets)}
	q.readable, q.writable = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
	return q
}

// used returns how many packets can be read. The caller holds rmu.
func (q *queue) used() int {
	head := q.head.Load()
	if head == q.tailSeen {
		q.tailSeen = q.tail.Load()
	}
	return int(q.tailSeen - head)
}

// room returns how many packets can be written. The caller holds wmu.
func (q *queue) room() int {
	tail := q.tail.Load()
	if tail-q.headSeen == uint64(len(q.slots)) {
		q.headSeen = q.head.Load()
	}
	return len(q.slots) - int(tail-q.headSeen)
}

// waitRead waits for a packet. The caller holds rmu.
func (q *queue) waitRead() error {
	if q.state.Load()&(readClosed|readLate) == 0 && q.used() > 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		state := q.state.Load()
		q.readerWaits.Store(true) // before the last look: a writer looks at it after its packet
		used := q.used()
		if state&(readClosed|readLate|writeClosed) != 0 || used > 0 {
			q.readerWaits.Store(false)
		}
		switch {
		case state&readClosed != 0:
			return opError("read", net.ErrClosed)
		case state&readLate != 0:
			return opError("read", os.ErrDeadlineExceeded)
		case used > 0:
			return nil
		case state&writeClosed != 0:
			return io.EOF
		}
		q.readable.Wait()
	}
}

// waitWrite waits for a free slot. The caller holds wmu.
func (q *queue) waitWrite() error {
	if q.state.Load()&(readClosed|writeEnding|writeLate) == 0 {
		if q.room() > 0 {
			return nil
		}
		q.wakeReader() // of packets that this call has written before
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		state := q.state.Load()
		q.writerWaits.Store(true)
		room := q.room()
		if state&(readClosed|writeEnding|writeLate) != 0 || room > 0 || q.direct {
			q.writerWaits.Store(false)
		}
		switch {
		case state&writeEnding != 0:
			return opError("write", net.ErrClosed)
		case state&readClosed != 0:
			return opError("write", syscall.EPIPE)
		case state&writeLate != 0:
			return opError("write", os.ErrDeadlineExceeded)
		case room > 0:
			return nil
		case q.direct:
			return ErrNoBuffers
		}
		q.writable.Wait()
	}
}

// wakeReader and wakeWriter come after the packet that the other waits for was
// written or read.
func (q *queue) wakeReader() { q.wakeWaiting(&q.readerWaits, q.readable) }
func (q *queue) wakeWriter() { q.wakeWaiting(&q.writerWaits, q.writable) }

func (q *queue) wakeWaiting(waits *atomic.Bool, c *sync.Cond) {
	if !waits.Load() {
		return
	}
	q.mu.Lock()
	waits.Store(false)
	c.Broadcast()
	q.mu.Unlock()
}

// pop moves the first packet into b; -1 means that it did not fit. The caller holds
// rmu, and there is a packet.
func (q *queue) pop(b []byte) int {
	head := q.head.Load()
	i := int(head % uint64(len(q.slots)))
	s := q.slots[i]
	n := -1
	// What came for a reader who took segments is no packet.
	if len(s) <= len(b) && (q.heads == nil || Features(0).Takes(&q.heads[i])) {
		n = copy(b, s)
	}
	q.head.Store(head + 1)
	return n
}

// push adds a packet. The caller holds wmu, and there is room.
func (q *queue) push(b []byte) {
	if len(b) == 0 {
		return // carries nothing, as the contract says
	}
	tail := q.tail.Load()
	i := int(tail % uint64(len(q.slots)))
	q.slots[i] = append(q.slots[i][:0], b...)
	if q.heads != nil {
		q.heads[i] = Segment{}
	}
	q.tail.Store(tail + 1)
}

func (q *queue) closeRead() {
	q.end(readClosed, &q.readDeadline)
	q.rmu.Lock()
	defer q.rmu.Unlock()
	q.wmu.Lock()
	defer q.wmu.Unlock()
	clear(q.slots) // nobody moves a packet any more
}

func (q *queue) closeWrite() {
	q.end(writeEnding, &q.writeDeadline)
	q.wmu.Lock() // the writes that have begun are done
	defer q.wmu.Unlock()
	q.end(writeClosed, &q.writeDeadline)
}

// end sets a flag that ends waiting.
func (q *queue) end(flag uint32, d *deadline) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state.Or(flag)
	d.stop()
	q.wakeLocked()
}

func (q *queue) wakeLocked() {
	q.readable.Broadcast()
	q.writable.Broadcast()
}

// deadline is one of a queue's two; its fields are guarded by the queue's mu.
type deadline struct {
	timer *time.Timer
	set   uint64 // tells a timer that fires late that it was replaced
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.set++
}

// setDeadline sets d, whose passing is flag.
func (q *queue) setDeadline(d *deadline, flag uint32, t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.stop()
	q.state.And(^flag)
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		q.state.Or(flag)
		q.wakeLocked()
		return
	}
	if q.state.Load()&(readClosed|writeEnding) != 0 {
		return // Close has ended, or will end, every wait; keep no timer for it
	}
	set := d.set
	d.timer = time.AfterFunc(left, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if d.set == set {
			q.state.Or(flag)
			q.wakeLocked()
		}
	})
}

func opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "l3pipe", Err: err}
}

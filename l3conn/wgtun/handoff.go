package wgtun

import (
	"io"
	"os"
	"sync"
	"time"

	"l3extract/l3conn"
)

// ringPackets is how many packets wait in a handoff. It holds what comes one by one,
// acknowledgements and pings, so that whoever writes these does not wait for who
// reads: a change of goroutine for each costs more than the copy.
const ringPackets = 16

// handoff is one direction of a Pair. A writer lends its packets until the reader
// has taken all of them, from the writer's memory into its own: nothing is copied
// twice, and a batch costs one change of goroutine each way. Only few small packets
// are copied into a ring, whose room is all that a handoff ever holds; a writer waits
// while it is full.
type handoff struct {
	wmu sync.Mutex // held by the writer whose turn it is

	// mu guards what follows, and is taken after wmu. Packets are moved under it:
	// nobody but the two sides waits for it for longer than a call.
	mu                 sync.Mutex
	readable, writable sync.Cond
	state              uint8

	ring       [ringPackets][]byte // a slot keeps its memory for the next packet
	head, tail uint64              // packets read from and written to the ring, ever

	lent   loan // nothing when nobody waits for its packets to be taken
	loaned bool
	cut    l3conn.Cutter
	left   int // bytes of payload that cut still has; 0: it has no segment

	readDeadline, writeDeadline deadline
}

// What has happened to a handoff.
const (
	readClosed  uint8 = 1 << iota // by the end that reads
	writeClosed                   // by the end that writes
	readLate                      // the deadlines have passed
	writeLate
)

// loan is what a writer lends: packets, each behind skip bytes of something else, or
// segments.
type loan struct {
	pkts [][]byte
	skip int
	segs []l3conn.Segment
	next int // the first packet or segment that is not yet taken whole
}

func (l *loan) len() int { return len(l.pkts) + len(l.segs) }

func newHandoff() *handoff {
	h := new(handoff)
	h.readable.L, h.writable.L = &h.mu, &h.mu
	return h
}

// write hands over what l lends, in order, and returns how many were taken.
func (h *handoff) write(l loan) (n int, err error) {
	if l.len() == 0 {
		return 0, nil
	}
	h.wmu.Lock()
	defer h.wmu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writeErr(); err != nil {
		return 0, err
	}
	if h.keep(&l) {
		h.readable.Signal()
		return l.len(), nil
	}
	h.lent, h.loaned = l, true
	h.readable.Signal()
	for h.loaned && err == nil {
		h.writable.Wait()
		err = h.writeErr()
	}
	if !h.loaned {
		return l.len(), nil // taken, whatever happened since
	}
	n = h.lent.next
	h.giveBack()
	return n, err
}

// keep copies few packets into the ring, and reports whether it did.
func (h *handoff) keep(l *loan) bool {
	if uint64(l.len()) > ringPackets-(h.tail-h.head) {
		return false
	}
	for i := range l.segs {
		if s := &l.segs[i]; s.Kind != l3conn.SegmentNone || s.Checksum == l3conn.ChecksumPartial {
			return false
		}
	}
	for _, p := range l.pkts {
		if p = p[min(l.skip, len(p)):]; len(p) > 0 { // nothing carries nothing
			s := h.slot(h.tail)
			*s = append((*s)[:0], p...)
			h.tail++
		}
	}
	for i := range l.segs {
		if l.segs[i].Len() == 0 {
			continue
		}
		s := h.slot(h.tail)
		*s = (*s)[:0]
		for _, p := range l.segs[i].Parts {
			*s = append(*s, p...)
		}
		h.tail++
	}
	return true
}

func (h *handoff) slot(i uint64) *[]byte { return &h.ring[i%ringPackets] }

// read waits for packets and puts them into bufs, behind offset bytes. One that does
// not fit has size 0 and is lost.
func (h *handoff) read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for n == 0 {
		if err := h.readErr(); err != nil {
			return 0, err
		}
		for n < len(bufs) && h.head != h.tail {
			sizes[n] = fill(bufs[n][offset:], *h.slot(h.head))
			h.head++
			n++
		}
		for n < len(bufs) && h.loaned {
			size, ok := h.take(bufs[n][offset:])
			if ok {
				sizes[n] = size
				n++
			}
		}
		if n == 0 {
			h.readable.Wait()
		}
	}
	return n, nil
}

// take puts the next packet of the loan into b; false says that there was none in
// what came next.
func (h *handoff) take(b []byte) (size int, ok bool) {
	l := &h.lent
	switch {
	case l.next == l.len():
		h.giveBack()
		h.writable.Signal()
		return 0, false
	case len(l.pkts) > 0:
		p := l.pkts[l.next]
		p = p[min(l.skip, len(p)):]
		l.next++
		size, ok = fill(b, p), len(p) > 0
	default:
		size, ok = h.takeCut(b)
	}
	if l.next == l.len() {
		h.giveBack()
		h.writable.Signal()
	}
	return size, ok
}

// takeCut is take of segments.
func (h *handoff) takeCut(b []byte) (size int, ok bool) {
	l := &h.lent
	s := &l.segs[l.next]
	header := int(s.HeaderSize)
	if s.Kind == l3conn.SegmentNone {
		header = 0
	}
	if h.left == 0 {
		size := s.Len()
		if size == 0 || h.cut.Reset(s, size) != nil { // the writer has checked them
			l.next++
			return 0, false
		}
		h.left = size - header
	}
	n, err := h.cut.Next(b)
	if err != nil { // too long for b: lost, and with it what the segment has left
		n, h.left = 0, 0
	} else {
		h.left -= n - header
	}
	if h.left == 0 {
		l.next++
	}
	return n, true
}

// giveBack ends the loan.
func (h *handoff) giveBack() {
	h.lent, h.loaned, h.left = loan{}, false, 0
}

// fill copies p into b; 0 says that it does not fit.
func fill(b, p []byte) int {
	if len(p) > len(b) {
		return 0
	}
	return copy(b, p)
}

func (h *handoff) readErr() error {
	switch {
	case h.state&readClosed != 0:
		return os.ErrClosed
	case h.state&readLate != 0:
		return os.ErrDeadlineExceeded
	case h.state&writeClosed != 0 && h.head == h.tail:
		return io.EOF
	}
	return nil
}

func (h *handoff) writeErr() error {
	switch {
	case h.state&writeClosed != 0:
		return os.ErrClosed
	case h.state&readClosed != 0:
		return errGone
	case h.state&writeLate != 0:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// end sets a flag that ends waiting for good, and the timer of d.
func (h *handoff) end(flag uint8, d *deadline) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state |= flag
	d.stop()
	if flag == readClosed {
		clear(h.ring[:])
		h.head = h.tail
	}
	h.wake()
}

func (h *handoff) wake() {
	h.readable.Broadcast()
	h.writable.Broadcast()
}

// deadline is one of a handoff's two; its fields are guarded by the handoff's mu.
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
func (h *handoff) setDeadline(d *deadline, flag uint8, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.stop()
	h.state &^= flag
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		h.state |= flag
		h.wake()
		return
	}
	if h.state&(readClosed|writeClosed) != 0 {
		return // every wait has ended, or will; keep no timer for it
	}
	set := d.set
	d.timer = time.AfterFunc(left, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if d.set == set {
			h.state |= flag
			h.wake()
		}
	})
}

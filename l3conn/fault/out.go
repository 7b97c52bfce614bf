package fault

import (
	"errors"
	"io"
	"os"
	"sync"

	"l3extract/l3conn"
)

// Write sends a packet on its way. Where nothing takes time it is written to the
// conn below at once, with that one's errors, else its Write never waits. A packet
// that is lost is no error.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.faultyOut {
		return c.below.Conn.Write(p)
	}
	one := [1][]byte{p}
	if n, err := c.writeBatch(one[:]); n == 0 {
		return 0, err
	}
	return len(p), nil
}

type batchWriter struct{ c *Conn }

// WriteBatch does not report packets that the conn below refuses for the moment,
// but counts them: their neighbours are decided about already.
func (w batchWriter) WriteBatch(pkts [][]byte) (int, error) { return w.c.writeBatch(pkts) }

func (c *Conn) writeBatch(pkts [][]byte) (int, error) {
	w := c.startWriting()
	defer w.release()
	for i, p := range pkts {
		err := w.ready
		if err == nil && len(p) > w.mtu {
			err = l3conn.ErrTooLong
		}
		if err == nil && len(p) > 0 {
			err = w.add(i, p, nil)
		}
		if err != nil {
			return w.finish(i, err)
		}
	}
	return w.finish(len(pkts), nil)
}

func (c *Conn) writeSegments(segs []l3conn.Segment) (int, error) {
	w := c.startWriting()
	defer w.release()
	_, features := c.below.Offloader.Offload()
	for i := range segs {
		err := w.ready
		if err == nil {
			err = invalid(segs[i].Check(features, w.mtu))
		}
		if err == nil {
			err = w.addSegment(i, &segs[i])
		}
		if err != nil {
			return w.finish(i, err)
		}
	}
	return w.finish(len(segs), nil)
}

// invalid returns err, what a segment was found to be, as that of a write.
func invalid(err error) error {
	if err == nil || err == l3conn.ErrTooLong {
		return err
	}
	return opError("write", err)
}

// writing is one call of a Write, pooled. Where nothing takes time it collects
// the packets that go on, to write them together.
type writing struct {
	c     *Conn
	mtu   int
	ready error // why nothing can be written

	pkts    [][]byte
	from    []int // which packet or segment of the caller's each of pkts is
	owned   []*held
	refused error // a packet was, for the moment
	sent    int   // packets that the conn below took
	cutter  l3conn.Cutter
}

var writings = sync.Pool{New: func() any { return new(writing) }}

func (c *Conn) startWriting() *writing {
	w := writings.Get().(*writing)
	w.c, w.mtu = c, l3conn.MaxSegment
	if m := c.below.MTU(); m > 0 {
		w.mtu = min(w.mtu, m)
	}
	if c.out.timed {
		w.ready = c.out.failed()
		if w.ready == nil && c.writeDeadline.over() {
			w.ready = os.ErrDeadlineExceeded
		}
		if w.ready != nil {
			w.ready = opError("write", w.ready)
		} else {
			c.startSender()
		}
	}
	return w
}

func (w *writing) release() {
	w.drop()
	*w = writing{pkts: w.pkts, from: w.from, owned: w.owned}
	writings.Put(w)
}

// drop forgets the packets collected.
func (w *writing) drop() {
	for i, h := range w.owned {
		h.free()
		w.owned[i] = nil
	}
	clear(w.pkts)
	w.pkts, w.from, w.owned = w.pkts[:0], w.from[:0], w.owned[:0]
}

// addSegment cuts s, number i of the caller's, and decides about each packet.
func (w *writing) addSegment(i int, s *l3conn.Segment) error {
	size := s.Len()
	if err := w.cutter.Reset(s, size); err != nil {
		return invalid(err)
	}
	room := size
	if s.Kind != l3conn.SegmentNone {
		room = min(size, int(s.HeaderSize)+int(s.PayloadSize))
	}
	for {
		h := getHeld(room)
		n, err := w.cutter.Next(h.buf)
		if err != nil {
			h.free()
			if err == io.EOF {
				return nil
			}
			return invalid(err)
		}
		h.n = n
		if err := w.add(i, h.packet(), h); err != nil {
			return err
		}
	}
}

// add decides about p, a packet of number i of the caller's. own, if not nil, is
// where it lies and w's from now on.
func (w *writing) add(i int, p []byte, own *held) error {
	l := &w.c.out
	l.mu.Lock()
	if l.timed {
		if l.ended || l.err != nil {
			l.counts.Packets++ // between startWriting and here
			l.counts.Refused++
			if own != nil {
				own.free()
			}
		} else {
			l.pushLocked(p, own, l.now())
		}
		l.mu.Unlock()
		return nil
	}
	f, copies, _ := l.judgeLocked(len(p), 0) // no matter when
	l.mu.Unlock()
	if copies == 0 {
		if own != nil {
			own.free()
		}
		return nil
	}
	if f.corrupt && own == nil {
		own = newHeld(p) // p is the caller's, who finds it unchanged
		p = own.packet()
	}
	if own != nil {
		w.owned = append(w.owned, own)
	}
	if f.corrupt {
		f.flip(p)
	}
	for range copies {
		w.pkts, w.from = append(w.pkts, p), append(w.from, i)
	}
	if len(w.pkts) >= 2*batchSize {
		if at, err := w.flush(); err != nil {
			return failedAt{at, err}
		}
	}
	return nil
}

// failedAt is an error of the conn below with the number of the caller's packet.
type failedAt struct {
	at int
	error
}

// finish writes what was collected before number n, which came to err.
func (w *writing) finish(n int, err error) (int, error) {
	if f, ok := err.(failedAt); ok {
		return f.at, f.error
	}
	if at, failed := w.flush(); failed != nil {
		return at, failed
	}
	if n == 1 && err == nil && w.sent == 0 && w.refused != nil {
		return 0, w.refused // of a packet that is alone it can be told
	}
	return n, err
}

// flush writes what was collected. Its error is one that the conn below does not
// survive, or a deadline; at is the number of the caller's packet then.
func (w *writing) flush() (at int, err error) {
	if len(w.pkts) == 0 {
		w.drop()
		return 0, nil
	}
	var o outcome
	out := w.c.below.Writer()
	for left, from := w.pkts, w.from; len(left) > 0; {
		n, failed := out.WriteBatch(left)
		o.delivered += n
		left, from = left[n:], from[n:]
		if failed == nil && n == 0 {
			failed = io.ErrNoProgress
		}
		if failed == nil || len(left) == 0 {
			continue
		}
		o.refused++
		at, left, from = from[0], left[1:], from[1:]
		if !l3conn.Transient(failed) {
			o.refused += len(left)
			err = failed
			break
		}
		w.refused = failed
	}
	w.sent += o.delivered
	w.c.out.mu.Lock()
	w.c.out.countLocked(o)
	w.c.out.mu.Unlock()
	w.drop()
	return at, err
}

// startSender starts the goroutine that writes packets when they are due.
func (c *Conn) startSender() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.sending != nil {
		return
	}
	c.sending = make(chan struct{})
	go c.send(c.sending) // ends with an error from below; awaited by Close
}

// send writes what is due until the conn below fails or Close was called.
func (c *Conn) send(done chan struct{}) {
	defer close(done)
	var taken [batchSize]*held
	w := writing{c: c}
	for {
		n, err := c.out.take(taken[:], nil)
		if err != nil {
			return
		}
		for i, h := range taken[:n] {
			w.pkts, w.from = append(w.pkts, h.packet()), append(w.from, i)
		}
		_, err = w.flush()
		c.out.settle(taken[:n], outcome{})
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.out.fail(err, true)
			return
		}
	}
}

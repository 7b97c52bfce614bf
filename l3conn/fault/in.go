package fault

import (
	"errors"
	"io"
	"net"
	"os"

	"l3extract/l3conn"
)

// pumpBatch is how many packets are read from the conn below at once; each has
// room for the longest there is.
const pumpBatch = 16

// Read reads a packet that has come through.
func (c *Conn) Read(b []byte) (int, error) {
	if !c.faultyIn {
		return c.below.Conn.Read(b)
	}
	n, err := c.takeIn(1)
	if n == 0 {
		return 0, err
	}
	p := c.taken[0].packet()
	if len(p) > len(b) {
		c.in.settle(c.taken[:1], outcome{short: 1})
		return 0, l3conn.ErrShortBuffer
	}
	n = copy(b, p)
	c.in.settle(c.taken[:1], outcome{delivered: 1})
	return n, nil
}

type batchReader struct{ c *Conn }

func (r batchReader) BatchSize() int { return batchSize }

func (r batchReader) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	c := r.c
	n, err := c.takeIn(len(bufs))
	o := outcome{}
	for i := range n {
		sizes[i] = 0
		if p := c.taken[i].packet(); len(p) <= len(bufs[i]) {
			sizes[i] = copy(bufs[i], p)
			o.delivered++
		}
	}
	o.short = n - o.delivered
	c.in.settle(c.taken[:n], o)
	return n, err
}

// readSegments gives packets, each with a checksum to be verified.
func (c *Conn) readSegments(segs []l3conn.Segment) (int, error) {
	n, err := c.takeIn(len(segs))
	o := outcome{}
	for i := range n {
		s, p := &segs[i], c.taken[i].packet()
		*s = l3conn.Segment{Parts: s.Parts}
		if s.Len() < len(p) {
			continue
		}
		s.Size = len(p)
		for _, part := range s.Parts {
			p = p[copy(part, p):]
		}
		o.delivered++
	}
	o.short = n - o.delivered
	c.in.settle(c.taken[:n], o)
	return n, err
}

// takeIn takes up to n packets for the reader and sees to it that there will be
// some.
func (c *Conn) takeIn(n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	c.startPump()
	n, err := c.in.take(c.taken[:min(n, batchSize)], c.readDeadline)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		var own *net.OpError
		if !errors.As(err, &own) { // else it came from below
			err = opError("read", err)
		}
	}
	return n, err
}

// startPump starts the goroutine that reads, unless there is one, or its error was
// not read yet.
func (c *Conn) startPump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.pumping != nil || c.in.failed() != nil {
		return
	}
	c.pumping = make(chan struct{})
	go c.pump(c.pumping) // ends with an error from below; awaited by Close
}

// pump reads the conn below until it fails or Close was called.
func (c *Conn) pump(done chan struct{}) {
	defer close(done)
	r := c.below.Reader()
	size := min(pumpBatch, r.BatchSize())
	bufs, sizes := make([][]byte, size), make([]int, size)
	for i := range bufs {
		bufs[i] = make([]byte, l3conn.MaxSegment)
	}
	for idle := 0; c.in.wait(); {
		n, err := r.ReadBatch(bufs, sizes)
		c.in.receive(bufs[:n], sizes)
		switch {
		case err != nil && !l3conn.Transient(err):
		case n > 0 || errors.Is(err, io.ErrShortBuffer):
			idle, err = 0, nil
		default:
			if idle++; idle == maxIdle {
				err = errors.Join(io.ErrNoProgress, err)
			} else {
				err = nil
			}
		}
		if err != nil {
			// At once, or a reader could start the next pump before the error
			// of this one is there.
			c.mu.Lock()
			c.pumping = nil
			c.in.fail(err, false)
			c.mu.Unlock()
			return
		}
	}
}

// maxIdle is how many reads in a row may bring nothing, see package l3conn.
const maxIdle = 100

// receive decides about what came from below.
func (l *line) receive(bufs [][]byte, sizes []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	now := l.now()
	for i, b := range bufs {
		if sizes[i] > 0 {
			l.pushLocked(b[:sizes[i]], nil, now)
		}
	}
}

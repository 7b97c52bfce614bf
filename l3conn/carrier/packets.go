package carrier

import (
	"errors"
	"os"
	"time"

	"l3extract/l3conn"
)

// batchSize is the largest number of packets per ReadBatch, whatever the carriers'.
const batchSize = 64

// Read waits for a packet, if need be for a carrier.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		l, err := c.wait(&c.read, "read")
		if err != nil {
			return 0, err
		}
		n := 0
		if c.read.enter(l) {
			n, err = l.caps.Conn.Read(b)
			c.read.leave(l)
		} else {
			err = os.ErrDeadlineExceeded
		}
		if n, err, ok := c.readOf(l, n, err); ok {
			return n, err
		}
	}
}

// BatchSize implements l3conn.BatchReader.
func (c *Conn) BatchSize() int { return batchSize }

// ReadBatch implements l3conn.BatchReader.
func (c *Conn) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	bufs = bufs[:min(len(bufs), batchSize)]
	if len(bufs) == 0 {
		return 0, nil
	}
	for {
		l, err := c.wait(&c.read, "read")
		if err != nil {
			return 0, err
		}
		n := 0
		if c.read.enter(l) {
			n, err = l.reader.ReadBatch(bufs, sizes)
			c.read.leave(l)
		} else {
			err = os.ErrDeadlineExceeded
		}
		if n, err, ok := c.readOf(l, n, err); ok {
			return n, err
		}
	}
}

// readOf judges what a read of l gave; false says that the next carrier may have more.
func (c *Conn) readOf(l *link, n int, err error) (int, error, bool) {
	switch {
	case err == nil || l3conn.Transient(err):
		return n, err, true
	case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
		return n, nil, true
	case errors.Is(err, os.ErrDeadlineExceeded):
		if c.read.late.Load() {
			return 0, opError("read", os.ErrDeadlineExceeded), true
		}
		return 0, nil, false // it was lifted meanwhile
	}
	c.lose(l, err)
	return n, nil, n > 0
}

// Write sends a packet, if need be once there is a carrier.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		l, err := c.wait(&c.write, "write")
		if err != nil {
			return 0, err
		}
		n := 0
		if c.write.enter(l) {
			n, err = l.caps.Conn.Write(p)
			c.write.leave(l)
		} else {
			err = os.ErrDeadlineExceeded
		}
		if err, ok := c.writeOf(l, err); ok {
			return n, err
		}
	}
}

// WriteBatch implements l3conn.BatchWriter.
func (c *Conn) WriteBatch(pkts [][]byte) (int, error) {
	done := 0
	for len(pkts) > done {
		l, err := c.wait(&c.write, "write")
		if err != nil {
			return done, err
		}
		if c.write.enter(l) {
			var n int
			n, err = l.writer.WriteBatch(pkts[done:])
			c.write.leave(l)
			done += n
		} else {
			err = os.ErrDeadlineExceeded
		}
		if err, ok := c.writeOf(l, err); ok && err != nil {
			return done, err
		}
	}
	return done, nil
}

// writeOf judges the error of a write of l; false says that the packet may go to the next
// carrier.
func (c *Conn) writeOf(l *link, err error) (error, bool) {
	switch {
	case err == nil || l3conn.Transient(err):
		return err, true
	case errors.Is(err, os.ErrDeadlineExceeded):
		if c.write.late.Load() {
			return opError("write", os.ErrDeadlineExceeded), true
		}
		return nil, false // it was lifted meanwhile
	}
	c.lose(l, err)
	return nil, false
}

// wait returns the carrier, and waits for one: a reader for as long as the Conn lives, a
// writer for Config.Wait after the loss.
func (c *Conn) wait(d *deadline, op string) (*link, error) {
	if l := c.present.Load(); l != nil && !d.late.Load() {
		return l, nil
	}
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for waited := false; ; {
		c.mu.Lock()
		l, over, late, changed, since := c.present.Load(), c.over, d.late.Load(), c.changed, c.since
		c.mu.Unlock()
		switch {
		case over != nil:
			return nil, opError(op, over)
		case late:
			return nil, opError(op, os.ErrDeadlineExceeded)
		case l != nil:
			return l, nil
		}
		if d.way == reading {
			<-changed
			continue
		}
		left := c.cfg.Wait - time.Since(since)
		if left <= 0 {
			c.lost.Add(1)
			return nil, l3conn.ErrDown
		}
		if !waited {
			c.waits.Add(1)
			waited = true
		}
		if timer == nil {
			timer = time.NewTimer(left)
		} else {
			timer.Reset(left)
		}
		select {
		case <-changed:
		case <-timer.C:
		}
	}
}

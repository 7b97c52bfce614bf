package framed

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"l3extract/l3conn"
)

// maxIdleReads is how many Reads in a row may bring nothing: more is a stream that
// spins.
const maxIdleReads = 100

// reader is what has been read of the stream and not yet been given out. It belongs
// to the one goroutine that reads.
type reader struct {
	buf      []byte // from:to are bytes of the stream
	from, to int
	offset   uint64 // of from in the stream
	err      error  // the end
	later    error  // what the stream said together with its last bytes
}

// Read waits for a packet.
func (c *Conn) Read(b []byte) (int, error) {
	p, err := c.wait()
	if err != nil {
		return 0, err
	}
	c.counters.took(1, len(p))
	if len(p) > len(b) {
		c.counters.short.Add(1)
		return 0, l3conn.ErrShortBuffer
	}
	return copy(b, p), nil
}

// BatchSize implements l3conn.BatchReader.
func (c *Conn) BatchSize() int { return batchSize }

// ReadBatch implements l3conn.BatchReader.
func (c *Conn) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	bufs = bufs[:min(len(bufs), batchSize)]
	if len(bufs) == 0 {
		return 0, nil
	}
	p, err := c.wait()
	n, bytes := 0, 0
	for p != nil {
		if sizes[n] = 0; len(p) <= len(bufs[n]) {
			sizes[n] = copy(bufs[n], p)
		} else {
			c.counters.short.Add(1)
		}
		bytes += len(p)
		if n++; n == len(bufs) {
			break
		}
		p, _ = c.in.frame(c) // an error comes again
	}
	if n > 0 {
		c.counters.took(n, bytes)
		return n, nil
	}
	return 0, err
}

// wait waits for a frame. Its memory is good until the next call.
func (c *Conn) wait() ([]byte, error) {
	for {
		if c.closed.Load() {
			return nil, opError("read", net.ErrClosed)
		}
		p, err := c.in.frame(c)
		if p != nil || err != nil {
			return p, err
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// frame returns the next frame that is there as a whole, nil if none is.
func (r *reader) frame(c *Conn) ([]byte, error) {
	for r.err == nil {
		have := r.buf[r.from:r.to]
		if len(have) < c.prefix {
			return nil, nil
		}
		n := c.cfg.Format.length(have)
		switch {
		case n == 0:
			c.counters.keepalivesIn.Add(1)
			r.skip(c.prefix)
			continue
		case uint64(n) < uint64(c.cfg.MinFrame) || uint64(n) > uint64(c.cfg.MTU):
			r.err = opError("read", &LengthError{n, c.cfg.MinFrame, c.cfg.MTU, r.offset})
			continue
		case len(have) < c.prefix+int(n):
			return nil, nil
		}
		r.skip(c.prefix + int(n))
		return have[c.prefix : c.prefix+int(n)], nil
	}
	return nil, r.err
}

func (r *reader) skip(n int) {
	r.from += n
	r.offset += uint64(n)
}

// fill reads the stream once. What is left of the frames before is less than one.
func (c *Conn) fill() error {
	r := &c.in
	if r.later != nil {
		return c.endRead(r.later)
	}
	if r.buf == nil {
		r.buf = make([]byte, c.cfg.ReadBuffer)
	}
	if r.from == r.to || len(r.buf)-r.to < len(r.buf)/2 {
		r.from, r.to = 0, copy(r.buf, r.buf[r.from:r.to])
	}
	for range maxIdleReads {
		c.waits()
		n, err := c.stream.Read(r.buf[r.to:])
		c.waited()
		if n > 0 {
			c.counters.streamReads.Add(1)
			r.to += n
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				r.later = err // the frames before count first
			}
			return nil
		}
		if err != nil {
			return c.endRead(err)
		}
	}
	return c.endRead(io.ErrNoProgress)
}

// endRead judges an error of the stream. All but a deadline are the end.
func (c *Conn) endRead(err error) error {
	r := &c.in
	if why := c.failed(); why != nil {
		err = why
	}
	switch {
	case c.closed.Load():
		return opError("read", net.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return opError("read", os.ErrDeadlineExceeded)
	case err == io.EOF && r.from == r.to:
		r.err = io.EOF
	case err == io.EOF:
		r.err = opError("read", fmt.Errorf("the stream ended within a frame, after %d of its bytes: %w",
			r.to-r.from, io.ErrUnexpectedEOF))
	default:
		r.err = end("read", err)
	}
	return r.err
}

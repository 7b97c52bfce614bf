package framed

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"l3extract/l3conn"
)

// writer is what is on its way to the stream.
type writer struct {
	// mu is held over Writes of the stream: frames must not mix. Who waits for it
	// waits for the stream, and is ended with its holder by a deadline or Close.
	mu   sync.Mutex
	buf  []byte // frames
	tail int    // so much at the beginning of buf is the rest of a frame that was begun
	err  error  // the end

	// Of the call that holds mu: where in buf each of its packets begins, and how
	// many of them the stream has had before those.
	marks []int
	begun int

	cut l3conn.Cutter
}

// Write sends a packet.
func (c *Conn) Write(p []byte) (int, error) {
	w := &c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := c.startWrite(); err != nil {
		return 0, err
	}
	if err := c.add(p); err != nil {
		return 0, err
	}
	if n, err := c.flushed(1, nil); n == 0 {
		return 0, err
	}
	return len(p), nil
}

// WriteBatch implements l3conn.BatchWriter.
func (c *Conn) WriteBatch(pkts [][]byte) (int, error) {
	w := &c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := c.startWrite(); err != nil {
		return 0, err
	}
	for _, p := range pkts {
		if err := c.add(p); err != nil {
			return c.flushed(len(pkts), err)
		}
	}
	return c.flushed(len(pkts), nil)
}

// startWrite begins a call. The caller holds mu, here and below.
func (c *Conn) startWrite() error {
	w := &c.out
	w.marks, w.begun = w.marks[:0], 0
	switch {
	case c.closed.Load():
		return opError("write", net.ErrClosed)
	case w.err != nil:
		return w.err
	case w.buf == nil:
		w.buf = make([]byte, 0, c.cfg.WriteBuffer)
	}
	return nil
}

// add adds packet p to the call.
func (c *Conn) add(p []byte) error {
	w := &c.out
	if len(p) > c.cfg.MTU {
		c.counters.tooLong.Add(1)
		return l3conn.ErrTooLong
	}
	if !c.worthy(len(p)) {
		w.marks = append(w.marks, len(w.buf))
		return nil
	}
	if err := c.room(len(p)); err != nil {
		return err
	}
	w.marks = append(w.marks, len(w.buf))
	w.length(c, len(p))
	w.buf = append(w.buf, p...)
	return nil
}

// worthy reports whether there is something to send: nothing is nothing, and what no
// peer accepts must not reach it.
func (c *Conn) worthy(size int) bool {
	if size < c.cfg.MinFrame && size > 0 {
		c.counters.runts.Add(1)
	}
	return size >= c.cfg.MinFrame
}

// room makes room for a packet of size bytes, if need be by sending what is there.
func (c *Conn) room(size int) error {
	w := &c.out
	if len(w.buf)+c.prefix+size <= cap(w.buf) {
		return nil
	}
	return c.flush()
}

// length appends a length, for which there is room.
func (w *writer) length(c *Conn, n int) {
	at := len(w.buf)
	w.buf = w.buf[:at+c.prefix]
	c.cfg.Format.put(w.buf[at:], n)
}

// flushed sends the rest of a call of so many packets, which was stopped by err if
// that is not nil, and returns its outcome.
func (c *Conn) flushed(packets int, err error) (int, error) {
	w := &c.out
	if err == nil || len(w.marks) > 0 {
		if failed := c.flush(); failed != nil {
			err = failed
		}
	}
	if w.begun == packets {
		return packets, nil // also when a deadline passed within the last one
	}
	return w.begun, err
}

// flush sends what is in buf and counts the packets of the call of which the stream
// had a part. When a deadline passes the rest of the frame that was begun stays.
func (c *Conn) flush() error {
	w := &c.out
	if len(w.buf) == 0 {
		w.begun, w.marks = w.begun+len(w.marks), w.marks[:0]
		return nil
	}
	n, err := c.stream.Write(w.buf)
	c.counters.streamWrites.Add(1)
	n = min(max(n, 0), len(w.buf))
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	c.wrote()
	frames, bytes, end := w.frames(c, n)
	c.counters.sent(frames, bytes)
	if err == nil {
		w.begun, w.marks = w.begun+len(w.marks), w.marks[:0]
		w.buf, w.tail = w.buf[:0], 0
		return nil
	}
	if err = c.endWrite(err); w.err == nil { // a deadline
		for _, at := range w.marks {
			if at < n {
				w.begun++
			}
		}
	}
	w.marks = w.marks[:0]
	w.buf = w.buf[:copy(w.buf, w.buf[n:end])]
	w.tail = len(w.buf)
	return err
}

// frames returns how many packets, of how many bytes, begin in the first n bytes of
// buf, and where the last frame that begins there ends.
func (w *writer) frames(c *Conn, n int) (count, bytes, end int) {
	end = w.tail
	for end < n {
		size := int(c.cfg.Format.length(w.buf[end:]))
		if size > 0 {
			count++
		}
		bytes += size
		end += c.prefix + size
	}
	return count, bytes, end
}

// endWrite judges an error of the stream. All but a deadline are the end.
func (c *Conn) endWrite(err error) error {
	if why := c.failed(); why != nil {
		err = why
	}
	switch {
	case c.closed.Load():
		return opError("write", net.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return opError("write", os.ErrDeadlineExceeded)
	}
	w := &c.out
	w.err = end("write", err)
	return w.err
}

package framed

import (
	"syscall"

	"l3extract/l3conn"
)

// Offload implements l3conn.Offloader: reads give packets, writes take everything.
func (c *Conn) Offload() (read, write l3conn.Features) { return 0, l3conn.OffloadAll }

// EnableOffload implements l3conn.Offloader: there is nothing to enable.
func (c *Conn) EnableOffload(read l3conn.Features) error {
	if read != 0 {
		return opError("set", syscall.EINVAL)
	}
	return nil
}

// SegmentBatch implements l3conn.Offloader.
func (c *Conn) SegmentBatch() int { return batchSize }

// ReadSegments implements l3conn.Offloader; every segment is a packet.
func (c *Conn) ReadSegments(segs []l3conn.Segment) (int, error) {
	segs = segs[:min(len(segs), batchSize)]
	if len(segs) == 0 {
		return 0, nil
	}
	p, err := c.wait()
	n, bytes := 0, 0
	for p != nil {
		bytes += len(p)
		if segs[n] = scatter(p, segs[n].Parts); segs[n].Size == 0 {
			c.counters.short.Add(1)
		}
		if n++; n == len(segs) {
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

// scatter puts p into parts; a Size of 0 says that it is too long.
func scatter(p []byte, parts [][]byte) l3conn.Segment {
	size := len(p)
	for _, part := range parts {
		p = p[copy(part, p):]
	}
	if len(p) > 0 {
		size = 0
	}
	return l3conn.Segment{Parts: parts, Size: size}
}

// WriteSegments implements l3conn.Offloader: the packets that segments stand for are
// made in the buffer from which they are sent.
func (c *Conn) WriteSegments(segs []l3conn.Segment) (int, error) {
	w := &c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := c.startWrite(); err != nil {
		return 0, err
	}
	for i := range segs {
		if err := c.addSegment(&segs[i]); err != nil {
			return c.flushed(len(segs), err)
		}
	}
	return c.flushed(len(segs), nil)
}

// addSegment adds the packets of s to the call.
func (c *Conn) addSegment(s *l3conn.Segment) error {
	switch err := s.Check(l3conn.OffloadAll, c.cfg.MTU); err {
	case nil:
	case l3conn.ErrTooLong:
		c.counters.tooLong.Add(1)
		return err
	default:
		return opError("write", err)
	}
	w, size := &c.out, s.Len()
	if !c.worthy(size) {
		w.marks = append(w.marks, len(w.buf))
		return nil
	}
	if err := c.room(min(size, c.cfg.MTU)); err != nil {
		return err
	}
	w.marks = append(w.marks, len(w.buf))
	if s.Kind == l3conn.SegmentNone && s.Checksum != l3conn.ChecksumPartial {
		w.length(c, size)
		for _, p := range s.Parts {
			w.buf = append(w.buf, p...)
		}
		return nil
	}
	if err := w.cut.Reset(s, size); err != nil {
		return opError("write", err)
	}
	header, payload := int(s.HeaderSize), int(s.PayloadSize)
	if s.Kind == l3conn.SegmentNone {
		header, payload = 0, size
	}
	for left := size - header; left > 0; left -= payload {
		n := header + min(left, payload)
		if err := c.room(n); err != nil {
			return err
		}
		w.length(c, n)
		at := len(w.buf)
		w.buf = w.buf[:at+n]
		if _, err := w.cut.Next(w.buf[at:]); err != nil {
			w.buf = w.buf[:at-c.prefix]
			return opError("write", err)
		}
	}
	return nil
}

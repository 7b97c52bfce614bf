package l3conn

import (
	"encoding/binary"
	"io"
	"syscall"

	"l3extract/l3conn/checksum"
)

// Cutter cuts a [Segment] into the finished packets that it stands for, for a
// middleware that needs packets, or a conn whose other end does. The zero value
// is ready for Reset; one goroutine uses it at a time.
type Cutter struct {
	parts   [][]byte // what is not yet cut; the first one from at on
	at      int
	left    int // payload bytes
	kind    SegmentKind
	sum     bool // SegmentNone: the checksum is to be finished
	header  int
	payload int // bytes per packet
	start   int // of the checksum
	field   int

	// head is the header of every packet, with 0 in what differs from one to the
	// next, so that its sums are taken once: of the IPv4 header, and of the pseudo
	// header without its length with the transport header.
	head      [maxSegmentHeader]byte
	ipSum     uint32
	headerSum uint32
	id        uint16
	seq       uint32
	flags     uint8
}

// Reset begins with s, a segment of size bytes: s.Len() before a write, s.Size
// after a read. s.Parts is kept until the last packet was taken. Fields that do
// not fit the headers are syscall.EINVAL.
func (c *Cutter) Reset(s *Segment, size int) error {
	*c = Cutter{parts: s.Parts, left: size, kind: s.Kind, payload: max(size, 1)}
	if size > MaxSegment || size < 0 {
		return syscall.EINVAL
	}
	if s.Checksum == ChecksumPartial {
		c.sum, c.start = true, int(s.ChecksumStart)
		c.field = c.start + int(s.ChecksumOffset)
		if c.field+2 > size {
			return syscall.EINVAL
		}
	}
	if s.Kind == SegmentNone {
		return nil
	}
	var offset int
	c.start, c.header, offset = s.Kind.headers(s.head(size, &c.head), size)
	if c.header == 0 || s.PayloadSize == 0 || !c.sum {
		return syscall.EINVAL
	}
	c.field, c.payload, c.left = c.start+offset, int(s.PayloadSize), size-c.header
	c.take(c.head[:c.header])
	c.template()
	return nil
}

// template takes what differs from packet to packet out of the header.
func (c *Cutter) template() {
	h, l4 := c.head[:c.header], c.head[c.start:c.header]
	c.headerSum = pseudoSum(h, c.kind)
	if h[0]>>4 == 4 {
		c.id = binary.BigEndian.Uint16(h[4:])
		clear(h[2:6])
		clear(h[10:12])
		c.ipSum = uint32(checksum.Sum(h[:int(h[0]&15)*4]))
	}
	if c.kind == SegmentUDP {
		clear(l4[4:8])
	} else {
		c.seq, c.flags = binary.BigEndian.Uint32(l4[4:]), l4[13]
		clear(l4[4:8])
		l4[13] = 0
		clear(l4[16:18])
	}
	c.headerSum += uint32(checksum.Sum(l4))
}

// Next puts the next packet into b, which is memory of the caller's, and returns
// its length. After the last one it returns io.EOF. A b that is too short is
// ErrShortBuffer; the packet is not lost.
func (c *Cutter) Next(b []byte) (int, error) {
	n := min(c.left, c.payload)
	switch {
	case n <= 0:
		c.parts = nil
		return 0, io.EOF
	case len(b) < c.header+n:
		return 0, ErrShortBuffer
	}
	b = b[:c.header+n]
	c.take(b[copy(b, c.head[:c.header]):])
	c.left -= n
	if c.kind != SegmentNone {
		c.finish(b)
	} else if c.sum {
		finishSum(b, c.start, c.field)
	}
	return len(b), nil
}

// take fills b with what comes next.
func (c *Cutter) take(b []byte) {
	for len(b) > 0 {
		n := copy(b, c.parts[0][c.at:])
		b = b[n:]
		if c.at += n; c.at == len(c.parts[0]) {
			c.parts, c.at = c.parts[1:], 0
		}
	}
}

// finish fills in what head, which b begins with, leaves out for the packet at hand.
func (c *Cutter) finish(b []byte) {
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], c.id)
		binary.BigEndian.PutUint16(b[10:], ^checksum.Fold(uint64(c.ipSum)+uint64(len(b))+uint64(c.id)))
		c.id++
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	l4, length := b[c.start:], uint64(len(b)-c.start)
	s := uint64(c.headerSum) + length + uint64(checksum.Sum(b[c.header:]))
	if c.kind == SegmentUDP {
		binary.BigEndian.PutUint16(l4[4:], uint16(length))
		s += length
	} else {
		flags := c.flags
		if c.left > 0 {
			flags &^= 0x09 // FIN and PSH are the last packet's
		}
		binary.BigEndian.PutUint32(l4[4:], c.seq)
		l4[13] = flags
		s += uint64(c.seq) + uint64(flags)
		c.seq += uint32(len(b) - c.header)
		c.flags &^= 0x80 // CWR is the first one's
	}
	putSum(b[c.field:], checksum.Fold(s))
}

// finishSum turns the sum of the pseudo header into the checksum.
func finishSum(b []byte, start, field int) { putSum(b[field:], checksum.Sum(b[start:])) }

// putSum stores the checksum that belongs to a sum.
func putSum(field []byte, sum uint16) {
	s := ^sum
	if s == 0 {
		s = 0xffff // the same number, but to UDP 0 means none
	}
	binary.BigEndian.PutUint16(field, s)
}

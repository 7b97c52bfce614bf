package l3conn

import (
	"encoding/binary"
	"io"
	"math/bits"
	"syscall"
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
	pseudo  uint32 // sum of the pseudo header without its length
	head    [maxSegmentHeader]byte
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
	c.pseudo = pseudoSum(c.head[:], s.Kind)
	return nil
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

// finish makes packet b of its payload and the header of the packet before it,
// and that the header of the next.
func (c *Cutter) finish(b []byte) {
	h, n := b[:c.header], len(b)-c.header
	if h[0]>>4 == 4 {
		binary.BigEndian.PutUint16(h[2:], uint16(len(b)))
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], ^onesSum(h[:int(h[0]&15)*4]))
		binary.BigEndian.PutUint16(c.head[4:], binary.BigEndian.Uint16(c.head[4:])+1) // the next ID
	} else {
		binary.BigEndian.PutUint16(h[4:], uint16(len(b)-40))
	}
	if l4 := h[c.start:]; c.kind == SegmentUDP {
		binary.BigEndian.PutUint16(l4[4:], uint16(8+n))
	} else {
		if c.left > 0 {
			l4[13] &^= 0x09 // FIN and PSH are the last packet's
		}
		next := c.head[c.start:]
		binary.BigEndian.PutUint32(next[4:], binary.BigEndian.Uint32(next[4:])+uint32(n))
		next[13] &^= 0x80 // CWR is the first one's
	}
	length := uint32(len(b) - c.start)
	binary.BigEndian.PutUint16(b[c.field:], fold(uint64(c.pseudo+length)))
	finishSum(b, c.start, c.field)
}

// finishSum turns the sum of the pseudo header into the checksum.
func finishSum(b []byte, start, field int) {
	s := ^onesSum(b[start:])
	if s == 0 {
		s = 0xffff // the same number, but to UDP 0 means none
	}
	binary.BigEndian.PutUint16(b[field:], s)
}

// onesSum is the ones' complement sum of b (RFC 1071), not inverted. Words may
// be added in any byte order as long as the sum is turned at the end. Each block
// has a chain of carries of its own: one through all takes twice as long.
func onesSum(b []byte) uint16 {
	var total, carries uint64
	for len(b) >= 64 {
		w := (*[64]byte)(b)
		s, k := bits.Add64(binary.LittleEndian.Uint64(w[0:8]), binary.LittleEndian.Uint64(w[8:16]), 0)
		s, k = bits.Add64(s, binary.LittleEndian.Uint64(w[16:24]), k)
		s, k = bits.Add64(s, binary.LittleEndian.Uint64(w[24:32]), k)
		s, k = bits.Add64(s, binary.LittleEndian.Uint64(w[32:40]), k)
		s, k = bits.Add64(s, binary.LittleEndian.Uint64(w[40:48]), k)
		s, k = bits.Add64(s, binary.LittleEndian.Uint64(w[48:56]), k)
		s, k = bits.Add64(s, binary.LittleEndian.Uint64(w[56:64]), k)
		total, k = bits.Add64(total, s, k)
		carries += k
		b = b[64:]
	}
	s, carry := bits.Add64(total, carries, 0)
	for ; len(b) >= 8; b = b[8:] {
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(b), carry)
	}
	for ; len(b) >= 2; b = b[2:] {
		s, carry = bits.Add64(s, uint64(binary.LittleEndian.Uint16(b)), carry)
	}
	if len(b) == 1 {
		s, carry = bits.Add64(s, uint64(b[0]), carry)
	}
	s, carry = bits.Add64(s, 0, carry)
	return bits.ReverseBytes16(fold(s + carry))
}

func fold(s uint64) uint16 {
	for range 2 {
		s = s>>32 + s&0xffffffff
	}
	for range 2 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

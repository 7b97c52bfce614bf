package l3conn

import (
	"encoding/binary"
	"syscall"

	"l3extract/l3conn/checksum"
)

// Sizes within segments, in bytes.
const (
	// MaxSegment is the largest segment.
	MaxSegment = 65535
	// maxSegmentHeader is more than IP and TCP with all options take, and
	// leaves room for IPv6 extension headers.
	maxSegmentHeader = 256
)

// The transport protocols that come in segments, and where they have their sum.
const (
	protoTCP          = 6
	protoUDP          = 17
	tcpChecksumOffset = 16
	udpChecksumOffset = 6
)

// Len returns the number of bytes in s.Parts: the size of a segment that is to
// be written.
func (s *Segment) Len() int {
	n := 0
	for _, p := range s.Parts {
		n += len(p)
	}
	return n
}

// Check reports what WriteSegments of a conn that takes write and has this MTU
// (0: unknown) says to s: nil, ErrTooLong, or syscall.EINVAL for a segment whose
// fields and headers do not fit each other. It does not read the payload.
func (s *Segment) Check(write Features, mtu int) error {
	size := s.Len()
	if mtu <= 0 {
		mtu = MaxSegment
	}
	switch {
	case s.Checksum > ChecksumPartial, s.Checksum == ChecksumPartial && !write.Has(OffloadChecksum):
		return syscall.EINVAL
	case s.Checksum == ChecksumPartial && int(s.ChecksumStart)+int(s.ChecksumOffset)+2 > size:
		return syscall.EINVAL
	case s.Kind == SegmentNone && size > mtu:
		return ErrTooLong
	case s.Kind == SegmentNone:
		return nil
	case !write.Has(s.Kind.feature()), s.Checksum != ChecksumPartial, s.PayloadSize == 0:
		return syscall.EINVAL
	case size > MaxSegment, int(s.HeaderSize)+min(int(s.PayloadSize), size-int(s.HeaderSize)) > mtu:
		return ErrTooLong
	}
	var room [maxSegmentHeader]byte
	start, header, offset := s.Kind.headers(s.head(size, &room), size)
	if header == 0 || header != int(s.HeaderSize) || start != int(s.ChecksumStart) || offset != int(s.ChecksumOffset) {
		return syscall.EINVAL
	}
	return nil
}

// Describe sets HeaderSize, Checksum, ChecksumStart and ChecksumOffset of a
// segment of size bytes from its headers. Kind and PayloadSize are set; for
// SegmentNone there is nothing to find. Headers that are not of that kind are
// syscall.EINVAL. The checksum field must hold what ChecksumPartial says.
func (s *Segment) Describe(size int) error {
	if s.Kind == SegmentNone {
		return nil
	}
	var room [maxSegmentHeader]byte
	start, header, offset := s.Kind.headers(s.head(size, &room), size)
	if header == 0 || s.PayloadSize == 0 {
		return syscall.EINVAL
	}
	s.HeaderSize, s.Checksum = uint16(header), ChecksumPartial
	s.ChecksumStart, s.ChecksumOffset = uint16(start), uint16(offset)
	return nil
}

// head returns the first bytes of s, which has size of them: those of the first
// part if it is long enough, else a copy in room.
func (s *Segment) head(size int, room *[maxSegmentHeader]byte) []byte {
	want := min(size, maxSegmentHeader)
	// Headers usually come in one piece, and this looks at nothing else.
	if len(s.Parts) > 0 && len(s.Parts[0]) >= min(want, 40) {
		h := s.Parts[0][:min(len(s.Parts[0]), want)]
		if len(h) == want || headerFits(h) {
			return h
		}
	}
	n := 0
	for _, p := range s.Parts {
		n += copy(room[n:want], p)
	}
	return room[:n]
}

// headerFits reports whether h, the first 40 bytes or more of a packet, holds
// all its headers for sure.
func headerFits(h []byte) bool {
	switch {
	case h[0]>>4 == 4 && h[9] == protoTCP:
		at := int(h[0]&15) * 4
		return len(h) >= at+20 && len(h) >= at+int(h[at+12]>>4)*4
	case h[0]>>4 == 6 && h[6] == protoTCP:
		return len(h) >= 60 && len(h) >= 40+int(h[52]>>4)*4
	}
	return false
}

// headers takes the headers of a segment of size bytes apart, whose beginning
// is h: where the transport header starts, where the payload starts, and where
// in the transport header the checksum is. A payload start of 0 means that this
// is no segment of kind k, or one without payload.
func (k SegmentKind) headers(h []byte, size int) (start, header, offset int) {
	start, proto := transportOf(h, size)
	switch {
	case start == 0 || size > MaxSegment:
		return 0, 0, 0
	case (k == SegmentTCP4 && h[0]>>4 == 4 || k == SegmentTCP6 && h[0]>>4 == 6) && proto == protoTCP:
		if len(h) < start+20 {
			return 0, 0, 0
		}
		n := int(h[start+12]>>4) * 4
		if n < 20 {
			return 0, 0, 0
		}
		header, offset = start+n, tcpChecksumOffset
	case k == SegmentUDP && proto == protoUDP:
		if len(h) < start+8 || int(binary.BigEndian.Uint16(h[start+4:])) != size-start {
			return 0, 0, 0
		}
		header, offset = start+8, udpChecksumOffset
	}
	if header > len(h) || header >= size {
		return 0, 0, 0
	}
	return start, header, offset
}

// transportOf returns where the transport header starts and its protocol; 0 for
// anything that cannot be cut: a fragment, a wrong length, an unknown header.
func transportOf(h []byte, size int) (start int, proto uint8) {
	switch {
	case len(h) >= 20 && h[0]>>4 == 4:
		start = int(h[0]&15) * 4
		if start < 20 || int(binary.BigEndian.Uint16(h[2:])) != size ||
			binary.BigEndian.Uint16(h[6:])&0x3fff != 0 { // more fragments, or an offset
			return 0, 0
		}
		return start, h[9]
	case len(h) >= 40 && h[0]>>4 == 6 && int(binary.BigEndian.Uint16(h[4:])) == size-40:
		start, proto = 40, h[6]
		for proto == 0 || proto == 60 { // hop-by-hop and destination options
			if len(h) < start+8 {
				return 0, 0
			}
			start, proto = start+8+int(h[start+1])*8, h[start]
		}
		return start, proto
	}
	return 0, 0
}

// ToPartial turns a segment of size bytes, whose Kind is not SegmentNone and
// whose checksum is filled in, into one that is ChecksumPartial. It sums the
// bytes unless they are ChecksumVerified; a wrong sum, or headers that are not
// of that kind, are syscall.EINVAL.
func (s *Segment) ToPartial(size int) error {
	state := s.Checksum
	if state == ChecksumPartial {
		return nil
	}
	var room [maxSegmentHeader]byte
	h := s.head(size, &room)
	if s.Kind == SegmentNone || s.Describe(size) != nil {
		return syscall.EINVAL
	}
	pseudo := checksum.Fold(uint64(pseudoSum(h, s.Kind)) + uint64(size-int(s.ChecksumStart)))
	if state != ChecksumVerified && checksum.Fold(uint64(pseudo)+uint64(s.sum(int(s.ChecksumStart), size))) != 0xffff {
		s.Checksum = state
		return syscall.EINVAL
	}
	field := int(s.ChecksumStart) + int(s.ChecksumOffset)
	*s.at(field), *s.at(field + 1) = byte(pseudo>>8), byte(pseudo)
	return nil
}

// pseudoSum is the sum of the pseudo header of the packet that begins with h,
// without its length.
func pseudoSum(h []byte, kind SegmentKind) uint32 {
	proto := uint32(protoTCP)
	if kind == SegmentUDP {
		proto = protoUDP
	}
	if h[0]>>4 == 4 {
		return uint32(checksum.Sum(h[12:20])) + proto
	}
	return uint32(checksum.Sum(h[8:40])) + proto
}

// sum is checksum.Sum of the bytes of s from start to end.
func (s *Segment) sum(start, end int) uint16 {
	var total uint64
	at, odd := 0, false
	for _, p := range s.Parts {
		from, to := max(start-at, 0), min(end-at, len(p))
		at += len(p)
		if from >= to {
			continue
		}
		part := checksum.Sum(p[from:to])
		if odd { // its bytes are the other halves of the words
			part = part<<8 | part>>8
		}
		total += uint64(part)
		odd = odd != ((to-from)%2 == 1)
	}
	return checksum.Fold(total)
}

// at returns byte i of s, which is there.
func (s *Segment) at(i int) *byte {
	for _, p := range s.Parts {
		if i < len(p) {
			return &p[i]
		}
		i -= len(p)
	}
	return nil
}

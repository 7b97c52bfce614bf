package tun

import (
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// What the kernel says of a checksum, in the flags of struct virtio_net_hdr.
const (
	flagNeedsChecksum = 1
	flagDataValid     = 2
)

// The fields of struct virtio_net_hdr behind flags and gso_type: 16 bits each in
// the machine's byte order, unless TUNSETVNETLE or -BE were used.
const (
	atHeaderLen      = 2
	atGSOSize        = 4
	atChecksumStart  = 6
	atChecksumOffset = 8
)

// describe fills in s, of which n bytes were just read, from its header. What
// the kernel says is only believed as far as the packet says so too; false means
// that s is lost.
func (o *ops) describe(s *l3conn.Segment, n int) bool {
	h := &o.header
	partial := h[0]&flagNeedsChecksum != 0
	if h[1] == unix.VIRTIO_NET_HDR_GSO_NONE || o.d.header == 0 {
		switch {
		case partial:
			s.Checksum = l3conn.ChecksumPartial
			s.ChecksumStart, s.ChecksumOffset = o.field(atChecksumStart), o.field(atChecksumOffset)
			return int(s.ChecksumStart)+int(s.ChecksumOffset)+2 <= n
		case h[0]&flagDataValid != 0:
			s.Checksum = l3conn.ChecksumVerified
		}
		return true
	}
	switch h[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4:
		s.Kind = l3conn.SegmentTCP4
	case unix.VIRTIO_NET_HDR_GSO_TCPV6:
		s.Kind = l3conn.SegmentTCP6
	case unix.VIRTIO_NET_HDR_GSO_UDP_L4:
		s.Kind = l3conn.SegmentUDP
	default:
		return false
	}
	s.ECN = h[1]&unix.VIRTIO_NET_HDR_GSO_ECN != 0
	s.PayloadSize = o.field(atGSOSize)
	if !partial { // merged by a network card
		if h[0]&flagDataValid != 0 {
			s.Checksum = l3conn.ChecksumVerified
		}
		return s.ToPartial(n) == nil
	}
	// hdr_len is what lies in one piece in the kernel, not the headers' length.
	if s.Describe(n) != nil ||
		s.ChecksumStart != o.field(atChecksumStart) || s.ChecksumOffset != o.field(atChecksumOffset) {
		return false
	}
	if int(s.HeaderSize)+int(s.PayloadSize) >= n { // one packet after all
		s.Kind, s.ECN, s.HeaderSize, s.PayloadSize = l3conn.SegmentNone, false, 0, 0
	}
	return true
}

// settle makes packet p, just read, one that whoever asked for no offload can
// use, and returns its size: 0 if it is lost. The kernel sends such packets only
// for a moment after offload was on.
func (o *ops) settle(p []byte) int {
	if o.header[0]&flagNeedsChecksum == 0 && o.header[1] == unix.VIRTIO_NET_HDR_GSO_NONE {
		return len(p)
	}
	s := l3conn.Segment{}
	o.whole[0] = p
	s.Parts = o.whole[:]
	n := 0
	if o.describe(&s, len(p)) && s.Kind == l3conn.SegmentNone && o.cutter.Reset(&s, len(p)) == nil {
		n, _ = o.cutter.Next(p) // onto itself
		if _, err := o.cutter.Next(nil); err != io.EOF {
			n = 0
		}
	}
	o.whole[0] = nil
	return n
}

// encode makes the header for s, which was checked. The rest of the header is
// zero and stays so.
func (o *ops) encode(s *l3conn.Segment) {
	h := &o.header
	clear(h[:minHeader])
	if s.Checksum == l3conn.ChecksumPartial {
		h[0] = flagNeedsChecksum
		o.setField(atChecksumStart, s.ChecksumStart)
		o.setField(atChecksumOffset, s.ChecksumOffset)
	}
	if s.Kind == l3conn.SegmentNone {
		return
	}
	switch s.Kind {
	case l3conn.SegmentTCP4:
		h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	case l3conn.SegmentTCP6:
		h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
	case l3conn.SegmentUDP:
		h[1] = unix.VIRTIO_NET_HDR_GSO_UDP_L4
	}
	if s.ECN && s.Kind != l3conn.SegmentUDP {
		h[1] |= unix.VIRTIO_NET_HDR_GSO_ECN
	}
	o.setField(atHeaderLen, s.HeaderSize) // 0 would have the kernel look for 64 KiB in one piece
	o.setField(atGSOSize, s.PayloadSize)
}

func (o *ops) field(at int) uint16 { return binary.NativeEndian.Uint16(o.header[at:]) }

func (o *ops) setField(at int, v uint16) { binary.NativeEndian.PutUint16(o.header[at:], v) }

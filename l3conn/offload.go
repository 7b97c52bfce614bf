package l3conn

// Features is a set of offloads, told apart by direction in [Offloader].
type Features uint8

// The offloads. Each segment kind includes OffloadChecksum.
const (
	// OffloadChecksum: packets may come with ChecksumPartial or ChecksumVerified.
	OffloadChecksum Features = 1 << iota
	// OffloadTCP4: segments of SegmentTCP4, up to 65535 bytes.
	OffloadTCP4
	// OffloadTCP6: segments of SegmentTCP6, up to 65535 bytes.
	OffloadTCP6
	// OffloadUDP: segments of SegmentUDP, up to 65535 bytes.
	OffloadUDP

	// OffloadAll is all of them.
	OffloadAll = OffloadChecksum | OffloadTCP4 | OffloadTCP6 | OffloadUDP
)

// Has reports whether f holds all of g.
func (f Features) Has(g Features) bool { return f&g == g }

// Takes reports whether s may be handed on as it is to somebody who takes f.
func (f Features) Takes(s *Segment) bool {
	return f.Has(s.Kind.feature()) && (s.Checksum == ChecksumFull || f.Has(OffloadChecksum))
}

// SegmentKind says how a segment is cut into packets.
type SegmentKind uint8

// The kinds of segments. They stand for virtio-net's gso_type.
const (
	// SegmentNone: one packet, not longer than the MTU.
	SegmentNone SegmentKind = iota
	// SegmentTCP4: TCP in IPv4; sequence number, IP ID and flags go on per packet.
	SegmentTCP4
	// SegmentTCP6: TCP in IPv6.
	SegmentTCP6
	// SegmentUDP: equal datagrams (the last may be shorter) behind one header,
	// IPv4 or IPv6, whose lengths count them all. At most 128 are read; Linux
	// before 6.10 takes at most 64 in one write.
	SegmentUDP
)

// feature is the offload without which nobody takes the kind.
func (k SegmentKind) feature() Features {
	switch k {
	case SegmentNone:
		return 0
	case SegmentTCP4:
		return OffloadTCP4 | OffloadChecksum
	case SegmentTCP6:
		return OffloadTCP6 | OffloadChecksum
	case SegmentUDP:
		return OffloadUDP | OffloadChecksum
	}
	return ^Features(0) // no such kind
}

// ChecksumState says what the transport checksum field of a segment holds.
type ChecksumState uint8

// The states of a transport checksum.
const (
	// ChecksumFull: the field is filled in; whoever reads must verify it.
	ChecksumFull ChecksumState = iota
	// ChecksumVerified: filled in and known to be right: no need to verify.
	// Only for SegmentNone. A write may claim it, but is not always believed.
	ChecksumVerified
	// ChecksumPartial: the field holds the folded, not inverted sum of the
	// pseudo header. Whoever sends the packet out sums from ChecksumStart to
	// the end and stores the result at ChecksumStart+ChecksumOffset. A packet
	// read in this state never left its host, or was verified before it became
	// part of a segment, and needs no verification.
	ChecksumPartial
)

// Segment is one packet, or one run of packets behind a common header, on the
// way to or from an [Offloader]. All its memory is the caller's.
type Segment struct {
	// Parts holds the bytes, cut anywhere, starting at the IP header. For a
	// write the parts one after the other are the segment, and Size is not
	// looked at. For a read they are the room, filled in order.
	Parts [][]byte
	// Size is the number of bytes read into Parts; 0 means that the segment
	// did not fit, or made no sense, and is lost.
	Size int

	// Kind says whether and how the segment is cut into packets.
	Kind SegmentKind
	// ECN: the segment carries CWR, for its first packet only. TCP kinds only.
	ECN bool
	// Checksum is the state of the transport checksum; ChecksumPartial where
	// Kind is not SegmentNone. The IPv4 header checksum is always filled in.
	Checksum ChecksumState
	// HeaderSize is the length of IP and transport header, in bytes, where
	// Kind is not SegmentNone; at most 256.
	HeaderSize uint16
	// PayloadSize is the number of payload bytes per packet (MSS, virtio-net's
	// gso_size) where Kind is not SegmentNone; the last packet may have less.
	PayloadSize uint16
	// ChecksumStart is where the checksum's sum begins, ChecksumOffset where
	// its field lies after that, in bytes; for ChecksumPartial only.
	ChecksumStart, ChecksumOffset uint16
}

// Offloader is implemented by conns that carry segments of up to 65535 bytes
// and leave cutting them and summing them to somebody else: a Linux TUN with
// virtio-net headers, or a pipe. Without EnableOffload such a conn behaves as
// any other: Read and ReadBatch give finished packets.
//
// A middleware that cannot look into segments leaves Offloader out of its
// [Caps], and everybody above it uses the plain path; one that needs packets
// can make them, see [Cutter].
type Offloader interface {
	// Offload returns what reads could deliver and what writes take.
	Offload() (read, write Features)
	// EnableOffload chooses what reads deliver, a part of what Offload
	// offers; syscall.EINVAL if it is not. Whoever will call ReadSegments
	// calls it while nobody reads. From then on Read and ReadBatch fail with
	// syscall.EINVAL; with 0 they work again, as they did in the beginning. A
	// segment that came between two such calls may be lost. After an error the
	// conn is as it was.
	EnableOffload(read Features) error
	// SegmentBatch is the largest number of segments per ReadSegments, fixed
	// for the life of the conn. A caller may have room for fewer.
	SegmentBatch() int
	// ReadSegments waits for one segment, takes without waiting what else is
	// there, and overwrites all fields but Parts. It works without
	// EnableOffload too and gives finished packets then. Outcomes as in
	// ReadBatch.
	ReadSegments(segs []Segment) (n int, err error)
	// WriteSegments writes segs in order, each by one vectored write where
	// the system has it; EnableOffload has no influence on it, and Write and
	// WriteBatch may be used beside it. Outcomes as in WriteBatch; a segment
	// that asks for more than Offload allows, or whose fields do not fit its
	// bytes, is syscall.EINVAL, see [Segment.Check]. On a [DirectWriter] it
	// never waits.
	WriteSegments(segs []Segment) (n int, err error)
}

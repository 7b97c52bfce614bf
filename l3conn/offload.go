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
)

// Has reports whether f holds all of g.
func (f Features) Has(g Features) bool { return f&g == g }

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
	// SegmentUDP: equal datagrams (the last may be shorter) behind one header, IPv4 or IPv6.
	SegmentUDP
)

// ChecksumState says what the transport checksum field of a segment holds.
type ChecksumState uint8

// The states of a transport checksum.
const (
	// ChecksumFull: the field is filled in; whoever reads must verify it.
	ChecksumFull ChecksumState = iota
	// ChecksumVerified: filled in, or missing inside one host, and known to be
	// right: no need to verify. For reads only.
	ChecksumVerified
	// ChecksumPartial: the field holds the folded, not inverted sum of the
	// pseudo header. Whoever sends the packet out sums from ChecksumStart to
	// the end and stores the result at ChecksumStart+ChecksumOffset. A packet
	// read in this state never left its host and needs no verification.
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
	// did not fit and is lost.
	Size int

	// Kind says whether and how the segment is cut into packets.
	Kind SegmentKind
	// ECN: with a TCP kind, only the first packet carries CWR.
	ECN bool
	// Checksum is the state of the transport checksum. The IPv4 header
	// checksum is always filled in.
	Checksum ChecksumState
	// HeaderSize is the length of IP and transport header, in bytes, where
	// Kind is not SegmentNone.
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
// any other: Read, Write and the batch forms carry finished packets only.
//
// A middleware that cannot look into segments leaves Offloader out of its
// [Caps], and everybody above it uses the plain path.
type Offloader interface {
	// Offload returns what reads could deliver and what writes take.
	Offload() (read, write Features)
	// EnableOffload chooses what reads deliver, a part of what Offload
	// offers. It is called at most once, before the first Read or Write, by
	// whoever will call ReadSegments; from then on only ReadSegments and
	// WriteSegments carry packets, plain ones included.
	EnableOffload(read Features) error
	// SegmentBatch is the largest number of segments per ReadSegments, fixed
	// for the life of the conn.
	SegmentBatch() int
	// ReadSegments waits for one segment, takes without waiting what else is
	// there, and overwrites all fields but Parts. Outcomes as in ReadBatch.
	ReadSegments(segs []Segment) (n int, err error)
	// WriteSegments writes segs in order, each by one vectored write where
	// the system has it. Outcomes as in WriteBatch; a segment that asks for
	// more than Offload allows is syscall.EINVAL.
	WriteSegments(segs []Segment) (n int, err error)
}

package link

import (
	"errors"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// DatagramOffload returns what WriteDatagramSegment takes beside finished
// datagrams: OffloadChecksum, OffloadUDP, or none. It does not change.
func (l *Link) DatagramOffload() l3conn.Features {
	if !l.segments {
		return 0
	}
	_, write := l.caps.Offloader.Offload()
	return write & (l3conn.OffloadChecksum | l3conn.OffloadUDP)
}

// WriteDatagramSegment is WriteDatagram for a datagram in parts, or for a run of
// them, which DatagramOffload must allow. It never waits; seg and its parts are the
// caller's again on return. false means that all of it was dropped and counted,
// each datagram of a run.
func (l *Link) WriteDatagramSegment(seg *l3conn.Segment) bool {
	if l.segments && l.caps.Direct {
		s := sendings.Get().(*sending)
		s.one[0] = *seg
		ok := l.writeInPlace(s)
		s.one[0] = l3conn.Segment{}
		sendings.Put(s)
		return ok
	}
	f := l.pools.get(seg.Len())
	f.n = 0
	for _, p := range seg.Parts {
		_, _ = f.Write(p) // the frame has room
	}
	if l.segments {
		f.seg = *seg
		f.seg.Parts = nil
	}
	return l.Send(f, Datagram)
}

// writeInPlace writes the datagrams in s to a conn that takes segments at once.
func (l *Link) writeInPlace(s *sending) bool {
	seg := &s.one[0]
	l.direct.RLock()
	defer l.direct.RUnlock()
	if l.isStopped() {
		l.cfg.Drops.AddN(drop.Closed, packets(seg, seg.Len()))
		return false
	}
	_, err := l.caps.Offloader.WriteSegments(s.one[:])
	if errors.Is(err, syscall.EINVAL) {
		// The conn finds fault with this segment, not with itself.
		l.cfg.Drops.AddN(drop.TransportUndelivered, packets(seg, seg.Len()))
		return false
	}
	return l.writtenRun(seg, seg.Len(), err)
}

// packets returns how many packets a segment of size bytes is cut into.
func packets(seg *l3conn.Segment, size int) uint64 {
	if seg.Kind == l3conn.SegmentNone || seg.PayloadSize == 0 {
		return 1
	}
	each := int(seg.PayloadSize)
	return uint64(max(1, (size-int(seg.HeaderSize)+each-1)/each))
}

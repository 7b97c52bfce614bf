package link

import (
	"errors"
	"sync"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// tcpOffloads is what a conn must take before the engine's segments go to it
// whole: all of it, so that one flow is not faster than the next.
const tcpOffloads = l3conn.OffloadChecksum | l3conn.OffloadTCP4 | l3conn.OffloadTCP6

// takesSegments reports whether the conn cuts the engine's segments itself.
func (l *Link) takesSegments() bool {
	if l.caps.Offloader == nil {
		return false
	}
	_, write := l.caps.Offloader.Offload()
	return write.Has(tcpOffloads)
}

// Owner is whom the memory of a segment belongs to. The Link calls Release once,
// on any goroutine, when it needs the bytes no more.
type Owner interface{ Release() }

// sending is what the sending of one segment needs, pooled: it runs for every
// segment, and an interface call would make each of these escape.
type sending struct {
	one [1]l3conn.Segment
	cut l3conn.Cutter
}

var sendings = sync.Pool{New: func() any { return new(sending) }}

// flatSegment is up to how many bytes a segment is copied into a frame: for so few
// that costs less than holding on to the memory of its owner.
const flatSegment = 2 << 10

// SendSegment sends TCP data whose checksum is partial, up to 64 KiB behind one
// header: as one write, if the conn takes that, else cut into packets. seg is the
// caller's again on return; its Parts, which nobody may write to, are owner's and
// used until its Release. It never waits; what is dropped is counted.
func (l *Link) SendSegment(seg *l3conn.Segment, owner Owner) {
	size := seg.Len()
	if !l.caps.Direct && (size > flatSegment || seg.Kind != l3conn.SegmentNone) {
		l.queue.push(segmentFrame(seg, owner), Data)
		return
	}
	defer owner.Release()
	s := sendings.Get().(*sending)
	defer sendings.Put(s)
	s.one[0] = *seg
	defer func() { s.one[0] = l3conn.Segment{} }()
	switch {
	case !l.segments:
		l.sendCut(s)
	case l.caps.Direct:
		l.direct.RLock()
		defer l.direct.RUnlock()
		if l.isStopped() {
			l.cfg.Drops.Add(drop.Closed)
			return
		}
		_, err := l.caps.Offloader.WriteSegments(s.one[:])
		if errors.Is(err, syscall.EINVAL) {
			// The conn finds fault with this segment, not with itself.
			l.cfg.Drops.Add(drop.TransportUndelivered)
			return
		}
		l.written(size, err)
	default:
		f := l.pools.get(size)
		f.n = 0
		for _, p := range seg.Parts {
			_, _ = f.Write(p) // the frame has room
		}
		f.seg = *seg
		f.seg.Parts = nil
		l.queue.push(f, Data)
	}
}

// sendCut sends the packets that a segment stands for.
func (l *Link) sendCut(s *sending) {
	seg := &s.one[0]
	left := seg.Len()
	if err := s.cut.Reset(seg, left); err != nil {
		l.cfg.Drops.Add(drop.TransportUndelivered) // the engine gave what cannot be
		return
	}
	header, payload := int(seg.HeaderSize), int(seg.PayloadSize)
	if seg.Kind == l3conn.SegmentNone {
		header, payload = 0, left
	}
	for left -= header; left > 0; left -= payload {
		f := l.pools.get(header + min(left, payload))
		n, err := s.cut.Next(f.b)
		if err != nil {
			f.free()
			l.cfg.Drops.Add(drop.TransportUndelivered)
			return
		}
		f.n = n
		l.Send(f, Data)
	}
}

// segmentBatch is how many segments are read at once: each has 64 KiB of memory
// for as long as the stack runs.
const segmentBatch = 8

// ownBuffer is the Buffer of a Link that is given none.
type ownBuffer []byte

func (b ownBuffer) Bytes() []byte { return b }

// readSegments reads a conn that gives segments. Until its end the conn's plain
// Read does not work.
func (l *Link) readSegments(o l3conn.Offloader, deliver func([]Packet)) {
	segs := make([]l3conn.Segment, min(segmentBatch, o.SegmentBatch()))
	buffers := make([]Buffer, len(segs))
	for i := range segs {
		segs[i].Parts = make([][]byte, 1)
	}
	pkts, at := make([]Packet, 0, len(segs)), make([]int, 0, len(segs))
	for idle := 0; ; {
		for i := range segs {
			if buffers[i] == nil {
				buffers[i] = l.buffer()
				segs[i].Parts[0] = buffers[i].Bytes()
			}
		}
		n, err := o.ReadSegments(segs)
		if l.isStopped() {
			return
		}
		pkts, at = pkts[:0], at[:0]
		for i := range segs[:n] {
			s := &segs[i]
			if s.Size == 0 {
				l.cfg.Drops.Add(drop.ConnShortBuffer)
				continue
			}
			p := Packet{Data: s.Parts[0][:s.Size], Verified: s.Checksum != l3conn.ChecksumFull}
			if s.Kind == l3conn.SegmentUDP {
				p.Datagram = int(s.PayloadSize)
			}
			if l.cfg.Buffer != nil {
				p.Buffer = buffers[i]
			}
			pkts, at = append(pkts, p), append(at, i)
		}
		l.received(pkts, deliver)
		for i := range pkts {
			if l.cfg.Buffer != nil && pkts[i].Buffer == nil {
				buffers[at[i]] = nil
			}
		}
		if end := l.outcome(&idle, n, err); end != nil {
			l.failRead(end)
			return
		}
	}
}

func (l *Link) buffer() Buffer {
	if l.cfg.Buffer != nil {
		return l.cfg.Buffer()
	}
	return ownBuffer(make([]byte, l3conn.MaxSegment))
}

package l3conn

import "syscall"

// SegmentPipeConfig is read once by SegmentPipe; nil and the zero value are the
// defaults.
type SegmentPipeConfig struct {
	// Packets is the number of packets or segments held each way; up to 64 KiB
	// each stay allocated. Default: DefaultPipePackets.
	Packets int
	// MTU is the largest packet, in bytes. Default: DefaultMTU.
	MTU int
	// Batch is the SegmentBatch and BatchSize. Default: 64, or Packets if that
	// is less.
	Batch int
	// Features is what Offload returns for both directions. Default: OffloadAll.
	Features Features
	// Direct makes the ends DirectWriters, as a TUN is: what finds no room is
	// lost, ErrNoBuffers. Default: a Write waits for room.
	Direct bool
}

// SegmentPipeEnd is one end of a SegmentPipe: a BatchPipeEnd that is an
// [Offloader] too and, if its config says so, a [DirectWriter].
type SegmentPipeEnd struct {
	*BatchPipeEnd
	features Features
}

// SegmentPipe returns a Pipe that carries segments, so that what stands on an
// Offloader can be tested without a TUN. A segment that the other end has not
// enabled is cut, or its checksum finished, on the way in, and waits as packets.
func SegmentPipe(c *SegmentPipeConfig) (*SegmentPipeEnd, *SegmentPipeEnd) {
	var cfg SegmentPipeConfig
	if c != nil {
		cfg = *c
	}
	if cfg.Packets <= 0 {
		cfg.Packets = DefaultPipePackets
	}
	if cfg.Batch <= 0 {
		cfg.Batch = min(64, cfg.Packets)
	}
	if cfg.Features == 0 {
		cfg.Features = OffloadAll
	}
	a, b := BatchPipe(cfg.Packets, cfg.MTU, cfg.Batch)
	for _, q := range [2]*queue{a.in, b.in} {
		q.heads, q.direct = make([]Segment, cfg.Packets), cfg.Direct
	}
	return &SegmentPipeEnd{a, cfg.Features}, &SegmentPipeEnd{b, cfg.Features}
}

// Caps implements [Capper].
func (p *SegmentPipeEnd) Caps() Caps {
	return Caps{
		BatchReader: p, BatchWriter: p, Offloader: p, Direct: p.out.direct,
		MTUer: p, ReadDeadliner: p, WriteDeadliner: p, Closer: p,
	}
}

// Offload implements [Offloader].
func (p *SegmentPipeEnd) Offload() (read, write Features) { return p.features, p.features }

// EnableOffload implements [Offloader].
func (p *SegmentPipeEnd) EnableOffload(read Features) error {
	if !p.features.Has(read) {
		return opError("set", syscall.EINVAL)
	}
	p.in.takes.Store(uint32(read))
	return nil
}

// SegmentBatch implements [Offloader].
func (p *SegmentPipeEnd) SegmentBatch() int { return p.size }

// Read waits for a packet from the other end.
func (p *SegmentPipeEnd) Read(b []byte) (int, error) {
	if err := p.plain(); err != nil {
		return 0, err
	}
	return p.BatchPipeEnd.Read(b)
}

// ReadBatch implements [BatchReader].
func (p *SegmentPipeEnd) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	if err := p.plain(); err != nil {
		return 0, err
	}
	return p.BatchPipeEnd.ReadBatch(bufs, sizes)
}

// plain refuses plain reads where segments are read.
func (p *SegmentPipeEnd) plain() error {
	if p.in.takes.Load() != 0 && p.in.state.Load()&readClosed == 0 {
		return opError("read", syscall.EINVAL)
	}
	return nil
}

// ReadSegments implements [Offloader].
func (p *SegmentPipeEnd) ReadSegments(segs []Segment) (int, error) {
	segs = segs[:min(len(segs), p.size)]
	if len(segs) == 0 {
		return 0, nil
	}
	q := p.in
	q.rmu.Lock()
	defer q.rmu.Unlock()
	if err := q.waitRead(); err != nil {
		return 0, err
	}
	n := min(len(segs), q.used())
	for i := range n {
		q.popSegment(&segs[i])
	}
	q.wakeWriter()
	return n, nil
}

// WriteSegments implements [Offloader].
func (p *SegmentPipeEnd) WriteSegments(segs []Segment) (int, error) {
	q := p.out
	q.wmu.Lock()
	defer q.wmu.Unlock()
	defer q.wakeReader() // one wake-up for all
	takes := Features(q.takes.Load())
	for i := range segs {
		s := &segs[i]
		err := s.Check(p.features, p.mtu)
		switch {
		case err == nil && takes.Takes(s):
			err = q.pushSegment(s)
		case err == nil:
			err = q.pushCut(s, p.mtu)
		case err != ErrTooLong:
			err = opError("write", err)
		}
		if err != nil {
			return i, err
		}
	}
	return len(segs), nil
}

// popSegment moves the first segment into s.
func (q *queue) popSegment(s *Segment) {
	head := q.head.Load()
	defer q.head.Store(head + 1)
	i := int(head % uint64(len(q.slots)))
	b, parts := q.slots[i], s.Parts
	*s = q.heads[i]
	s.Parts, s.Size = parts, len(b)
	for _, p := range parts {
		b = b[copy(p, b):]
	}
	if len(b) > 0 || !Features(q.takes.Load()).Takes(s) {
		*s = Segment{Parts: parts}
	}
}

// slot waits for a slot and returns it, with room for size bytes. The next pushed
// makes a packet of it.
func (q *queue) slot(size int) (slot int, err error) {
	if err := q.waitWrite(); err != nil {
		return 0, err
	}
	slot = int(q.tail.Load() % uint64(len(q.slots)))
	if cap(q.slots[slot]) < size {
		q.slots[slot] = make([]byte, size)
	}
	q.slots[slot] = q.slots[slot][:size]
	return slot, nil
}

// pushed adds what was put into a slot.
func (q *queue) pushed() { q.tail.Add(1) }

func (q *queue) pushSegment(s *Segment) error {
	size := s.Len()
	if size == 0 {
		return nil
	}
	slot, err := q.slot(size)
	if err != nil {
		return err
	}
	b := q.slots[slot]
	for _, p := range s.Parts {
		b = b[copy(b, p):]
	}
	q.heads[slot] = *s
	q.heads[slot].Parts = nil
	q.pushed()
	return nil
}

// pushCut pushes the packets of s, each not longer than mtu.
func (q *queue) pushCut(s *Segment, mtu int) error {
	var c Cutter
	if err := c.Reset(s, s.Len()); err != nil {
		return opError("write", err)
	}
	for c.left > 0 {
		slot, err := q.slot(mtu)
		if err != nil {
			return err
		}
		n, err := c.Next(q.slots[slot])
		if err != nil {
			return opError("write", err)
		}
		q.slots[slot], q.heads[slot] = q.slots[slot][:n], Segment{}
		q.pushed()
	}
	return nil
}

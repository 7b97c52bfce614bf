package udp

import (
	"net/netip"
	"sync"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// maxRun is how many datagrams leave as one: what any Linux takes in one write.
const maxRun = 64

// outgoing is what the sending of a datagram, or of a run of them, needs: its
// headers, made anew for each, and its parts, which are the caller's memory. It is
// pooled: an interface call would make each of these escape.
type outgoing struct {
	head  [packet.MaxUDPHeaders]byte
	parts [1 + maxRun][]byte // the headers, then the payload
	n     int                // of parts in use
	seg   l3conn.Segment

	count, size, total int // datagrams, payload bytes of each but the last, and of all
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

func getOutgoing() *outgoing {
	o := outgoings.Get().(*outgoing)
	o.n, o.count, o.size, o.total = 1, 0, 0, 0
	return o
}

func (o *outgoing) free() {
	clear(o.parts[:o.n])
	o.seg = l3conn.Segment{}
	outgoings.Put(o)
}

// add adds a datagram, of as many bytes as the others or, as the last, fewer.
func (o *outgoing) add(payload []byte) {
	o.size = max(o.size, len(payload))
	o.count++
	o.part(payload)
}

func (o *outgoing) part(payload []byte) {
	o.parts[o.n] = payload
	o.n++
	o.total += len(payload)
}

// fits tells whether a datagram of size bytes to to is one packet.
func (t *Table) fits(size int, to netip.Addr) bool {
	if to.Is4() {
		return header4+size <= t.env.MTU
	}
	return header6+size <= t.env.MTU
}

// maxRunBytes is what all datagrams of a run carry at most, in either IP version.
const maxRunBytes = l3conn.MaxSegment - header6

// emit sends what o holds as one and reports whether it was taken; what is not was
// counted. It needs an output for segments.
func (t *Table) emit(o *outgoing, from, to netip.AddrPort) bool {
	id := uint16(0)
	if !t.cfg.DontFragment && to.Addr().Is4() {
		id = uint16(t.env.Uint32()) // a smaller link on the way may fragment it
	}
	n, start := packet.PutUDPHeaders(&o.head, from, to, uint8(t.cfg.HopLimit), uint8(t.cfg.TrafficClass), id, o.total)
	if n == 0 {
		t.env.Drops.AddN(drop.UDPTooLarge, uint64(o.count)) // it cannot be: both were checked
		return false
	}
	head := o.head[:n]
	if t.cfg.DontFragment {
		packet.SetDontFragment(head)
	}
	o.parts[0] = head
	o.seg = l3conn.Segment{Parts: o.parts[:o.n]}
	if t.offload.Has(l3conn.OffloadChecksum) {
		o.seg.Checksum = l3conn.ChecksumPartial
		o.seg.ChecksumStart, o.seg.ChecksumOffset = uint16(start), udpChecksum
	} else {
		packet.FinishUDP(head[start:], o.parts[1])
	}
	if o.count > 1 {
		o.seg.Kind = l3conn.SegmentUDP
		o.seg.HeaderSize, o.seg.PayloadSize = uint16(n), uint16(o.size)
	}
	return t.segments.WriteDatagramSegment(&o.seg)
}

// udpChecksum is where the checksum lies in a UDP header.
const udpChecksum = 6

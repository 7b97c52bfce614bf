package netstack

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"l3extract/internal/fifo"
	"l3extract/internal/link"
	"l3extract/l3conn"
)

// The engine acknowledges what it gets at once. Most small requests are answered soon,
// and the answer acknowledges them again, so an acknowledgement alone is held for a
// moment and dropped if anything else of its connection leaves meanwhile (RFC 9293,
// 3.8.6.3; RFC 1122, 4.2.3.2). For a relay this is a tenth of what a short connection
// costs, and a third of the packets of a ping-pong.
const (
	// ackHold is how long: longer than a server on the same network takes, a quarter of
	// what Linux waits, and half of the shortest time after which this engine, as a
	// peer, probes for a loss (RFC 8985, 7.2).
	ackHold = 10 * time.Millisecond
	// ackQuick is how many acknowledgements leave at once after one that was held in
	// vain: its peer sends without being answered, or waits for it (RFC 896).
	ackQuick = 16
)

// heldAck is an acknowledgement that waits, with its headers as the engine made them.
type heldAck struct {
	flow    *flowSeq
	until   time.Time
	node    fifo.Node[heldAck]
	seg     l3conn.Segment
	headers [2 * 60]byte
}

var heldAcks = sync.Pool{New: func() any { return new(heldAck) }}

// acks holds acknowledgements. As all wait for the same time, the first to come is the
// first to leave. There are at most as many as connections.
type acks struct {
	link *link.Link
	hold time.Duration // 0: none is held

	mu      sync.Mutex // a leaf; guards flowSeq.ack too
	waiting fifo.List[heldAck]
	timer   *time.Timer // nil: not set
	closed  bool
	leaving sync.WaitGroup // calls of the timer
}

// ackState is what acks knows of a connection.
type ackState struct {
	held  *heldAck // under the mu of acks
	some  atomic.Bool
	last  atomic.Uint32 // the acknowledgement that left last
	quick atomic.Int32  // how many are not to be held
	fin   atomic.Bool   // our FIN has left: nothing will carry an acknowledgement any more
}

// take looks at a TCP packet that is about to leave and holds it, if it is an
// acknowledgement that something else will probably carry. Packets of one connection
// come one at a time.
func (a *acks) take(f *flowSeq, pkt *gstack.PacketBuffer) bool {
	h := gheader.TCP(pkt.TransportHeader().Slice())
	if f == nil || len(h) < gheader.TCPMinimumSize {
		return false
	}
	f.advertised(h)
	if h.Flags()&gheader.TCPFlagFin != 0 {
		f.ack.fin.Store(true)
	}
	ack := h.AckNumber()
	alone := a.hold > 0 && h.Flags() == gheader.TCPFlagAck && pkt.Data().Size() == 0 && a.mayWait(f, h, ack)
	if f.ack.some.Load() {
		if alone && a.renew(f, pkt, ack) {
			return true
		}
		a.drop(f) // this one says the same or more
		alone = false
	}
	if alone && f.ack.quick.Load() > 0 {
		f.ack.quick.Add(-1)
		alone = false
	}
	if alone && a.keep(f, pkt) {
		return true
	}
	f.ack.last.Store(ack)
	return false
}

// ackMost is how many bytes an acknowledgement that waits may be of: less than half a
// segment of any link, so that a sender who fills segments is never kept waiting.
const ackMost = 600

// mayWait reports whether an acknowledgement may wait: one of few bytes that says
// nothing else. One of nothing repeats itself for a reason, and what tells of gaps is
// urgent (RFC 5681, 4.2).
func (a *acks) mayWait(f *flowSeq, h gheader.TCP, ack uint32) bool {
	n := ack - f.ack.last.Load()
	return n > 0 && n <= ackMost && !f.ack.fin.Load() && !hasSACK(h.Options()) && f.una.Load() != f.iss.Load()
}

// hasSACK reports whether the options of a TCP header have blocks of SACK.
func hasSACK(o []byte) bool {
	for len(o) > 0 {
		switch o[0] {
		case gheader.TCPOptionEOL:
			return false
		case gheader.TCPOptionNOP:
			o = o[1:]
			continue
		case gheader.TCPOptionSACK:
			return true
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return true // nothing that the engine makes
		}
		o = o[o[1]:]
	}
	return false
}

// fill takes over the headers of pkt; false if there is no room for them.
func (h *heldAck) fill(pkt *gstack.PacketBuffer) bool {
	ip, tcp := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	if len(ip)+len(tcp) > len(h.headers) {
		return false
	}
	n := copy(h.headers[:], ip)
	n += copy(h.headers[n:], tcp)
	h.seg = l3conn.Segment{
		Parts:          append(h.seg.Parts[:0], h.headers[:n]),
		Checksum:       l3conn.ChecksumPartial,
		ChecksumStart:  uint16(len(ip)),
		ChecksumOffset: gheader.TCPChecksumOffset,
	}
	return true
}

// ack returns the acknowledgement number.
func (h *heldAck) ack() uint32 { return binary.BigEndian.Uint32(h.headers[h.seg.ChecksumStart+8:]) }

// keep holds pkt.
func (a *acks) keep(f *flowSeq, pkt *gstack.PacketBuffer) bool {
	held := heldAcks.Get().(*heldAck)
	if !held.fill(pkt) {
		held.Release()
		return false
	}
	held.flow, held.until = f, time.Now().Add(a.hold)
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		held.Release()
		return true // the engine is ending: nobody waits for it
	}
	f.ack.held = held
	f.ack.some.Store(true)
	a.waiting.Push(&held.node, held)
	if a.timer == nil {
		a.armLocked()
	}
	a.mu.Unlock()
	return true
}

// renew puts pkt, which acknowledges more, in the place of what is held, which waits no
// longer for that. It is false for one that repeats it, and when nothing is held any more.
func (a *acks) renew(f *flowSeq, pkt *gstack.PacketBuffer, ack uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	held := f.ack.held
	return held != nil && held.ack() != ack && held.fill(pkt)
}

func (a *acks) armLocked() {
	a.leaving.Add(1)
	a.timer = time.AfterFunc(time.Until(a.waiting.First().until), a.leave)
}

// drop forgets the acknowledgement that is held for f, if one is.
func (a *acks) drop(f *flowSeq) {
	a.mu.Lock()
	held := f.ack.held
	if held != nil {
		a.unlinkLocked(held)
	}
	a.mu.Unlock()
	if held != nil {
		held.Release()
	}
}

// unlinkLocked takes held out.
func (a *acks) unlinkLocked(held *heldAck) {
	held.flow.ack.held = nil
	held.flow.ack.some.Store(false)
	held.node.Remove()
}

// Release implements link.Owner.
func (h *heldAck) Release() {
	h.flow = nil
	heldAcks.Put(h)
}

// leave sends what has waited long enough. It is run by the timer.
func (a *acks) leave() {
	defer a.leaving.Done()
	var late fifo.List[heldAck]
	a.mu.Lock()
	a.timer = nil
	now, held := time.Now(), a.waiting.First()
	for ; held != nil && !held.until.After(now); held = a.waiting.First() {
		a.unlinkLocked(held)
		late.Push(&held.node, held)
	}
	if held != nil && !a.closed {
		a.armLocked()
	}
	a.mu.Unlock()
	for held := late.First(); held != nil; held = late.First() {
		held.node.Remove() // SendSegment releases it
		f := held.flow
		f.ack.quick.Store(ackQuick)
		f.ack.last.Store(held.ack())
		a.link.SendSegment(&held.seg, held)
	}
}

// close drops what is held and waits for leave.
func (a *acks) close() {
	a.mu.Lock()
	a.closed = true
	if a.timer != nil && a.timer.Stop() {
		a.leaving.Done()
	}
	for held := a.waiting.First(); held != nil; held = a.waiting.First() {
		a.unlinkLocked(held)
	}
	a.mu.Unlock()
	a.leaving.Wait()
}

// tupleOfPacket names the connection of a packet of ours.
func tupleOfPacket(pkt *gstack.PacketBuffer) tuple {
	h := gheader.TCP(pkt.TransportHeader().Slice())
	var src, dst netip.Addr
	if n := pkt.NetworkHeader().Slice(); pkt.NetworkProtocolNumber == gheader.IPv4ProtocolNumber {
		src, _ = netip.AddrFromSlice(n[12:16])
		dst, _ = netip.AddrFromSlice(n[16:20])
	} else {
		src, _ = netip.AddrFromSlice(n[8:24])
		dst, _ = netip.AddrFromSlice(n[24:40])
	}
	return tuple{netip.AddrPortFrom(src, h.SourcePort()), netip.AddrPortFrom(dst, h.DestinationPort())}
}

package netstack

import (
	"bytes"

	gbuffer "gvisor.dev/gvisor/pkg/buffer"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"l3extract/internal/packet"
)

// maxMerge bounds the payload of a merged segment: with the longest headers it fits
// the largest memory chunk that the engine pools, 64 KiB, and one segment of our own
// engine's, 65374 bytes, still is one.
const maxMerge = 64<<10 - 120

// Merges reports whether next continues prev, so that both can be one segment:
// the same connection, in order, the same acknowledgement, window and options,
// and nothing but data in either, as in Linux' GRO. PSH ends no run here: the run is
// delivered at once in any case. prev is the last packet of a run, total the payload
// that the run has so far.
func Merges(prev, next *packet.Packet, total int) bool {
	return next.Proto == packet.TCP && prev.Proto == packet.TCP &&
		len(next.Payload) > 0 && len(prev.Payload) > 0 &&
		next.Seq == prev.Seq+uint32(len(prev.Payload)) &&
		next.SrcPort == prev.SrcPort && next.DstPort == prev.DstPort &&
		next.Flags&^packet.PSH == packet.ACK && prev.Flags&^packet.PSH == packet.ACK &&
		next.Ack == prev.Ack && next.Window == prev.Window &&
		next.TOS == prev.TOS && next.TTL == prev.TTL &&
		next.HeaderLen == prev.HeaderLen && next.TCPHeaderLen == prev.TCPHeaderLen &&
		next.Src == prev.Src && next.Dst == prev.Dst &&
		!next.Options && !next.Fragment && !prev.Options && !prev.Fragment &&
		total+len(next.Payload) <= maxMerge &&
		bytes.Equal(next.TCPOptions(), prev.TCPOptions())
}

// Supersedes reports whether next says all that prev says and more, so that the
// engine need not see prev: both are nothing but acknowledgements of one connection,
// next of more data, without SACK blocks. What the engine does per acknowledgement
// (RACK, where that is on, looks at every segment in flight) is a quarter of a bulk
// transfer's cost where packets are small. An acknowledgement that acknowledges no more is a duplicate
// or a new window, and the engine counts these.
func Supersedes(prev, next *packet.Packet) bool {
	return next.Proto == packet.TCP && prev.Proto == packet.TCP &&
		next.Flags == packet.ACK && prev.Flags == packet.ACK &&
		len(next.Payload) == 0 && len(prev.Payload) == 0 &&
		next.SrcPort == prev.SrcPort && next.DstPort == prev.DstPort &&
		next.Seq == prev.Seq && next.Ack-prev.Ack-1 < maxBuffer &&
		next.TOS == prev.TOS && next.TTL == prev.TTL &&
		next.Src == prev.Src && next.Dst == prev.Dst &&
		!next.Options && !next.Fragment && !prev.Options && !prev.Fragment &&
		onlyTimestamp(prev) && onlyTimestamp(next)
}

// onlyTimestamp reports whether p has no TCP option but a timestamp, as laid out by
// everybody (RFC 7323, appendix A).
func onlyTimestamp(p *packet.Packet) bool {
	o := p.TCPOptions()
	return len(o) == 0 || len(o) == 12 && [4]byte(o) == [4]byte{1, 1, 8, 10}
}

// DeliverRun gives a run of TCP segments that merge, each validated as for
// DeliverTCP, to the engine as one segment: what the engine does per segment
// costs more than the bytes do.
func (e *Engine) DeliverRun(run []*packet.Packet) {
	if len(run) == 1 {
		e.DeliverTCP(run[0])
		return
	}
	first := run[0]
	headers := first.HeaderLen + first.TCPHeaderLen
	size, flags := headers, uint8(0)
	for _, p := range run {
		size += len(p.Payload)
		flags |= p.Flags
	}
	if !e.arrived(first, size-headers, size) {
		return
	}
	v := gbuffer.NewView(size)
	_, _ = v.Write(first.Raw[:headers]) // a View with room never fails
	for _, p := range run {
		_, _ = v.Write(p.Payload)
	}
	v.AsSlice()[first.HeaderLen+13] |= flags
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: gbuffer.MakeWithView(v)})
	e.transport(first, pkt)
}

// transport consumes both headers of pkt, which are laid out as p's, and gives it
// to the engine's transport layer.
func (e *Engine) transport(p *packet.Packet, pkt *gstack.PacketBuffer) {
	defer pkt.DecRef()
	if !consume(p, pkt) {
		return
	}
	e.current = p
	e.dispatch[version(p.Src)].DeliverTransportPacket(gtcp.ProtocolNumber, pkt)
	e.current = nil
	if p.Flags&packet.RST != 0 {
		e.resetSeen(ending{id: tuple{p.DstAddrPort(), p.SrcAddrPort()}, seq: p.Seq})
	}
}

package netstack

import (
	"sync"

	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"l3extract/l3conn"
)

// GSOMaxSize implements gstack.GSOEndpoint. Per-packet work in the engine is what
// bulk transfer costs most, so it is asked for segments as long as an IP packet can
// be; the link or the conn cuts them (RFC 9293, 3.7.1).
func (l *linkEndpoint) GSOMaxSize() uint32 { return l3conn.MaxSegment }

// SupportedGSO implements gstack.GSOEndpoint. With it the engine leaves the
// checksum of data segments to us.
func (l *linkEndpoint) SupportedGSO() gstack.SupportedGSO { return gstack.HostGSOSupported }

// gather collects the pieces of a segment without copying them, and keeps them from
// being reused until the link has written them.
type gather struct {
	seg l3conn.Segment
	pkt *gstack.PacketBuffer
}

// Write implements io.Writer for the engine.
func (g *gather) Write(p []byte) (int, error) {
	g.seg.Parts = append(g.seg.Parts, p)
	return len(p), nil
}

// Release implements link.Owner.
func (g *gather) Release() {
	clear(g.seg.Parts) // they are the engine's
	g.pkt.DecRef()
	g.pkt = nil
	gathers.Put(g)
}

var gathers = sync.Pool{New: func() any { return new(gather) }}

// segment sends a data segment whose checksum the engine left to us. The packet is
// of this sending alone; its data is the send queue's too, and never written to.
func (l *linkEndpoint) segment(pkt *gstack.PacketBuffer) {
	ip, tcp := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	g := gathers.Get().(*gather)
	g.pkt = pkt.IncRef()
	g.seg = l3conn.Segment{
		Parts:          append(g.seg.Parts[:0], ip, tcp),
		Checksum:       l3conn.ChecksumPartial,
		ChecksumStart:  uint16(len(ip)),
		ChecksumOffset: gheader.TCPChecksumOffset,
	}
	if size := pkt.Data().Size(); size > 0 {
		_, _ = pkt.Data().ReadTo(g, true) // a gather never fails
		if mss := int(pkt.GSOOptions.MSS); mss > 0 && size > mss {
			g.seg.Kind = l3conn.SegmentTCP6
			if pkt.NetworkProtocolNumber == gheader.IPv4ProtocolNumber {
				g.seg.Kind = l3conn.SegmentTCP4
			}
			g.seg.HeaderSize, g.seg.PayloadSize = uint16(len(ip)+len(tcp)), uint16(mss)
		}
	}
	l.link.SendSegment(&g.seg, g)
}

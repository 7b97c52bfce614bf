package netstack

import (
	"sync/atomic"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"l3extract/internal/link"
)

// linkEndpoint is the engine's interface: it turns the engine's packets into
// frames of the link. It has no address and no link header, as a TUN has none.
//
// It claims no checksum offload: for received packets because then nobody would
// verify what was reassembled, for sent ones because the engine would leave the
// checksum of SYN-ACK and RST at zero.
type linkEndpoint struct {
	engine *Engine
	link   *link.Link
	up     atomic.Pointer[gstack.NetworkDispatcher]
}

// MTU implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) MTU() uint32 { return uint32(l.link.MTU()) }

// SetMTU does nothing: the MTU of a link is fixed for its life.
func (l *linkEndpoint) SetMTU(uint32) {}

// MaxHeaderLength implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) LinkAddress() gtcpip.LinkAddress { return "" }

// SetLinkAddress does nothing.
func (l *linkEndpoint) SetLinkAddress(gtcpip.LinkAddress) {}

// Capabilities implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) Capabilities() gstack.LinkEndpointCapabilities { return 0 }

// Attach implements gstack.NetworkLinkEndpoint; nil detaches.
func (l *linkEndpoint) Attach(d gstack.NetworkDispatcher) {
	if d == nil {
		l.up.Store(nil)
		return
	}
	l.up.Store(&d)
}

// IsAttached implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) IsAttached() bool { return l.up.Load() != nil }

func (l *linkEndpoint) dispatcher() gstack.NetworkDispatcher {
	if d := l.up.Load(); d != nil {
		return *d
	}
	return nil
}

// Wait returns at once: the engine calls it while it holds its own lock, and
// the goroutines of the link may wait for that lock. The stack joins them.
func (l *linkEndpoint) Wait() {}

// ARPHardwareType implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) ARPHardwareType() gheader.ARPHardwareType { return gheader.ARPHardwareNone }

// AddHeader does nothing.
func (l *linkEndpoint) AddHeader(*gstack.PacketBuffer) {}

// ParseHeader implements gstack.NetworkLinkEndpoint.
func (l *linkEndpoint) ParseHeader(*gstack.PacketBuffer) bool { return true }

// Close does nothing: the link is the stack's.
func (l *linkEndpoint) Close() {}

// SetOnCloseAction does nothing: the interface lives as long as the engine.
func (l *linkEndpoint) SetOnCloseAction(func()) {}

// WritePackets gives the engine's packets to the link. It runs under the lock of
// an endpoint, so it never waits; the link counts what it has to drop.
func (l *linkEndpoint) WritePackets(pkts gstack.PacketBufferList) (int, gtcpip.Error) {
	n := 0
	for _, pkt := range pkts.AsSlice() {
		if pkt.GSOOptions.Type != gstack.GSONone && pkt.GSOOptions.NeedsCsum {
			if reset(pkt) {
				l.note(pkt)
				l.segment(pkt)
			} else if !l.engine.acks.take(l.engine.flows.get(tupleOfPacket(pkt)), pkt) {
				l.segment(pkt)
			}
			n++
			continue
		}
		f := l.link.Frame(pkt.Size())
		f.SetLen(0) // the frame has room for all, so no Write of it fails
		_, _ = f.Write(pkt.NetworkHeader().Slice())
		_, _ = f.Write(pkt.TransportHeader().Slice())
		if pkt.Data().Size() > 0 {
			_, _ = pkt.Data().ReadTo(f, true)
		}
		class := link.Control
		if pkt.TransportProtocolNumber == gtcp.ProtocolNumber {
			class = link.Data
			l.note(pkt)
		} else if lateReassembly(pkt) {
			l.engine.late.Add(1)
		}
		if l.link.Send(f, class) {
			n++
		}
	}
	return n, nil
}

// lateReassembly reports whether pkt tells a sender that its fragments did not all
// come in time (RFC 792, RFC 4443, 3.3): the engine has no other sign of it.
func lateReassembly(pkt *gstack.PacketBuffer) bool {
	h := pkt.TransportHeader().Slice()
	if len(h) < 2 || h[1] != 1 {
		return false
	}
	switch pkt.TransportProtocolNumber {
	case gheader.ICMPv4ProtocolNumber:
		return h[0] == byte(gheader.ICMPv4TimeExceeded)
	case gheader.ICMPv6ProtocolNumber:
		return h[0] == byte(gheader.ICMPv6TimeExceeded)
	}
	return false
}

// reset reports whether a TCP packet is a RST.
func reset(pkt *gstack.PacketBuffer) bool {
	h := gheader.TCP(pkt.TransportHeader().Slice())
	return len(h) >= gheader.TCPMinimumSize && h.Flags()&gheader.TCPFlagRst != 0
}

// note learns our initial sequence number from a SYN or SYN-ACK of ours, and hears of
// our resets.
func (l *linkEndpoint) note(pkt *gstack.PacketBuffer) {
	h := gheader.TCP(pkt.TransportHeader().Slice())
	switch {
	case len(h) < gheader.TCPMinimumSize:
		return
	case reset(pkt):
		id := tupleOfPacket(pkt)
		if f := l.engine.flows.get(id); f != nil {
			l.engine.acks.drop(f) // nothing is said behind a reset
		}
		l.engine.resetSeen(ending{id: id, ours: true})
		return
	case h.Flags()&gheader.TCPFlagSyn == 0:
		return
	}
	l.engine.flows.start(tupleOfPacket(pkt), h.SequenceNumber(), h.AckNumber()).ack.last.Store(h.AckNumber())
}

package netstack

import (
	"net/netip"

	gbuffer "gvisor.dev/gvisor/pkg/buffer"
	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"l3extract/internal/link"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// newPacket copies raw into the engine's memory. The view is sized to the
// packet: a small one must not pin a large chunk.
func newPacket(raw []byte) *gstack.PacketBuffer {
	return gstack.NewPacketBuffer(gstack.PacketBufferOptions{
		Payload: gbuffer.MakeWithView(gbuffer.NewViewWithData(raw)),
	})
}

// buffer is memory of the engine's to read a packet into.
type buffer gbuffer.View

// NewBuffer returns memory for one packet of any size.
func NewBuffer() link.Buffer { return (*buffer)(gbuffer.NewViewSize(l3conn.MaxSegment)) }

// Bytes implements link.Buffer.
func (b *buffer) Bytes() []byte { return (*gbuffer.View)(b).AsSlice() }

// keepAbove is the size of packet, in bytes, above which the engine keeps the memory
// that it was read into. It counts the bytes and not the memory as received, so what
// it keeps is at most twice what it counts.
const keepAbove = 32 << 10

// Keeps reports whether DeliverBuffer is to be used for a packet of n bytes.
func Keeps(n int) bool { return n > keepAbove }

// DeliverBuffer is DeliverTCP for a packet that begins b, which is the engine's from
// then on: the packet is not copied.
func (e *Engine) DeliverBuffer(p *packet.Packet, b link.Buffer) {
	v := (*gbuffer.View)(b.(*buffer))
	if !e.arrived(p, len(p.Payload), v.Capacity()) {
		v.Release()
		return
	}
	v.CapLength(len(p.Raw))
	e.transport(p, gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: gbuffer.MakeWithView(v)}))
}

// newTCP makes the engine's packet of a decoded TCP segment that has neither
// options, extension headers nor fragments, with both headers consumed.
func newTCP(p *packet.Packet) *gstack.PacketBuffer {
	pkt := newPacket(p.Raw)
	if !consume(p, pkt) {
		pkt.DecRef()
		return nil
	}
	return pkt
}

// consume marks the headers of pkt, which are laid out as p's.
func consume(p *packet.Packet, pkt *gstack.PacketBuffer) bool {
	pkt.NICID = nicID
	pkt.NetworkProtocolNumber = protocolOf(p.Src)
	pkt.TransportProtocolNumber = gtcp.ProtocolNumber
	pkt.RXChecksumValidated = true // by the door
	if _, ok := pkt.NetworkHeader().Consume(p.HeaderLen); !ok {
		return false
	}
	_, ok := pkt.TransportHeader().Consume(p.TCPHeaderLen)
	return ok
}

// DeliverTCP gives a validated TCP segment straight to the engine's transport
// layer, past its IP layer: that spares some six locks and the search for the
// address. The packet must have neither options, extension headers nor fragments.
func (e *Engine) DeliverTCP(p *packet.Packet) {
	if e.arrived(p, len(p.Payload), len(p.Raw)) {
		e.transport(p, newPacket(p.Raw))
	}
}

// unclaimed is the engine's default handler: no endpoint owns the segment. It
// runs inside DeliverTCP. It always takes the segment, so that the engine never
// answers on the goroutine that reads the conn.
func (e *Engine) unclaimed(gstack.TransportEndpointID, *gstack.PacketBuffer) bool {
	p := e.current
	if p == nil {
		return true
	}
	const request = packet.SYN | packet.ACK | packet.RST | packet.FIN
	if p.Flags&request == packet.SYN {
		e.cfg.Handler.SYN(p)
	} else {
		e.cfg.Handler.Stray(p)
	}
	return true
}

// DeliverIP gives a packet with fragments, options or extension headers to the
// engine's IP layer; what comes of it goes to Handler.Reassembled.
func (e *Engine) DeliverIP(p *packet.Packet) {
	d := e.port.dispatcher()
	if d == nil {
		return // the interface is gone: the engine is closing
	}
	pkt := newPacket(p.Raw)
	d.DeliverNetworkPacket(protocolOf(p.Src), pkt)
	pkt.DecRef()
}

func version(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// transportError is an ICMP error as the engine's transport layer takes it.
type transportError struct {
	kind gstack.TransportErrorKind
	mtu  uint32
	v6   bool
}

func (t *transportError) Kind() gstack.TransportErrorKind { return t.kind }
func (t *transportError) Type() uint8                     { return 0 }
func (t *transportError) Code() uint8                     { return 0 }
func (t *transportError) Info() uint32                    { return t.mtu }
func (t *transportError) Origin() gtcpip.SockErrOrigin {
	if t.v6 {
		return gtcpip.SockExtErrorOriginICMP6
	}
	return gtcpip.SockExtErrorOriginICMP
}

// InFlight reports whether a segment of ours from local to remote that begins
// at seq can be in flight, and the live flow's existence: the checks of RFC 5927.
func (e *Engine) InFlight(local, remote netip.AddrPort, seq uint32) (live, inFlight bool) {
	f := e.flows.get(tuple{local, remote})
	if f == nil {
		return false, false
	}
	return true, f.sent(seq)
}

// DeliverError gives an ICMP error about a segment from local to remote to the
// endpoint, after the stack's filter has believed it. It takes endpoint locks, so
// it must not run on the goroutine that reads packets.
func (e *Engine) DeliverError(ie packet.ICMPError) {
	te := &transportError{v6: !ie.Src.Addr().Is4()}
	switch ie.Kind {
	case packet.TooBig:
		te.kind, te.mtu = gstack.PacketTooBigTransportError, uint32(max(ie.MTU, 0))
		// The engine wants the MTU of the transport layer.
		if te.v6 {
			te.mtu -= gheader.IPv6MinimumSize
		} else {
			te.mtu -= gheader.IPv4MinimumSize
		}
	case packet.HostUnreachable:
		te.kind = gstack.DestinationHostUnreachableTransportError
	case packet.NetUnreachable:
		te.kind = gstack.DestinationNetworkUnreachableTransportError
	case packet.PortUnreachable:
		te.kind = gstack.DestinationPortUnreachableTransportError
	case packet.ProtocolUnreachable:
		te.kind = gstack.DestinationProtoUnreachableTransportError
	case packet.AdminProhibited:
		te.kind = gstack.DestinationHostUnreachableTransportError
	default:
		return
	}
	ports := []byte{
		byte(ie.Src.Port() >> 8), byte(ie.Src.Port()),
		byte(ie.Dst.Port() >> 8), byte(ie.Dst.Port()),
		byte(ie.Seq >> 24), byte(ie.Seq >> 16), byte(ie.Seq >> 8), byte(ie.Seq),
	}
	pkt := newPacket(ports)
	defer pkt.DecRef()
	pkt.NICID = nicID
	pkt.NetworkProtocolNumber = protocolOf(ie.Src.Addr())
	e.dispatch[version(ie.Src.Addr())].DeliverTransportError(
		addressOf(ie.Src.Addr()), addressOf(ie.Dst.Addr()),
		pkt.NetworkProtocolNumber, gtcp.ProtocolNumber, te, pkt)
}

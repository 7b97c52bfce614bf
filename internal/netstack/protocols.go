package netstack

import (
	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// wrap makes the engine's network protocol use our dispatcher, and keeps the
// dispatcher that the engine made for it under version (0 is IPv4, 1 is IPv6),
// so that validated TCP can go to it directly.
func (e *Engine) wrap(make gstack.NetworkProtocolFactory, version int) gstack.NetworkProtocolFactory {
	return func(s *gstack.Stack) gstack.NetworkProtocol {
		return &networkProtocol{NetworkProtocol: make(s), engine: e, version: version}
	}
}

type networkProtocol struct {
	gstack.NetworkProtocol
	engine  *Engine
	version int
}

// NewEndpoint implements gstack.NetworkProtocol.
func (p *networkProtocol) NewEndpoint(nic gstack.NetworkInterface, d gstack.TransportDispatcher) gstack.NetworkEndpoint {
	p.engine.dispatch[p.version] = d
	if p.version == 0 {
		nic = loopbackInterface{nic}
	}
	return p.NetworkProtocol.NewEndpoint(nic, &dispatcher{TransportDispatcher: d, engine: p.engine})
}

// loopbackInterface makes the IPv4 endpoint, and only it, believe that it sits
// on a loopback interface: then the address 0.0.0.0/0 matches every address at
// once. The price is that the endpoint makes no martian check; package door does.
type loopbackInterface struct{ gstack.NetworkInterface }

// IsLoopback implements gstack.NetworkInterface.
func (loopbackInterface) IsLoopback() bool { return true }

// dispatcher takes what the engine's IP layer has reassembled.
type dispatcher struct {
	gstack.TransportDispatcher
	engine *Engine
}

// DeliverTransportPacket hands up what was reassembled, TCP too, whole again, so
// that it is judged like a packet that came in one piece.
func (d *dispatcher) DeliverTransportPacket(proto gtcpip.TransportProtocolNumber, pkt *gstack.PacketBuffer) gstack.TransportPacketDisposition {
	if raw := rebuild(proto, pkt); raw != nil {
		d.engine.cfg.Handler.Reassembled(raw)
	}
	return gstack.TransportPacketHandled
}

// DeliverTransportPacketWithDefaultHandlerResult implements the engine's wider
// dispatcher interface, which its IP layer prefers.
func (d *dispatcher) DeliverTransportPacketWithDefaultHandlerResult(proto gtcpip.TransportProtocolNumber, pkt *gstack.PacketBuffer) (gstack.TransportPacketDisposition, bool) {
	return d.DeliverTransportPacket(proto, pkt), true
}

// DeliverTransportError drops the errors that the IP layer believes in: ICMP
// errors come in by Engine.DeliverError only, after our filter.
func (d *dispatcher) DeliverTransportError(gtcpip.Address, gtcpip.Address, gtcpip.NetworkProtocolNumber, gtcpip.TransportProtocolNumber, gstack.TransportError, *gstack.PacketBuffer) {
}

// DeliverRawPacket drops: we open no raw endpoints.
func (d *dispatcher) DeliverRawPacket(gtcpip.TransportProtocolNumber, *gstack.PacketBuffer) {}

// rebuild returns one packet without options, extension headers or fragments
// that carries what pkt does, or nil if that cannot be.
func rebuild(proto gtcpip.TransportProtocolNumber, pkt *gstack.PacketBuffer) []byte {
	transport := pkt.TransportHeader().Slice()
	length := len(transport) + pkt.Data().Size()
	var raw []byte
	switch old := pkt.NetworkHeader().Slice(); pkt.NetworkProtocolNumber {
	case gheader.IPv4ProtocolNumber:
		if length+gheader.IPv4MinimumSize > 0xffff {
			return nil
		}
		was := gheader.IPv4(old)
		tos, _ := was.TOS()
		raw = make([]byte, gheader.IPv4MinimumSize, gheader.IPv4MinimumSize+length)
		h := gheader.IPv4(raw)
		h.Encode(&gheader.IPv4Fields{
			TOS: tos, TotalLength: uint16(len(raw) + length), ID: was.ID(), TTL: was.TTL(),
			Protocol: uint8(proto), SrcAddr: was.SourceAddress(), DstAddr: was.DestinationAddress(),
		})
		h.SetChecksum(^h.CalculateChecksum())
	case gheader.IPv6ProtocolNumber:
		if length > 0xffff {
			return nil
		}
		was := gheader.IPv6(old)
		tc, _ := was.TOS()
		raw = make([]byte, gheader.IPv6MinimumSize, gheader.IPv6MinimumSize+length)
		gheader.IPv6(raw).Encode(&gheader.IPv6Fields{
			TrafficClass: tc, PayloadLength: uint16(length), TransportProtocol: proto,
			HopLimit: was.HopLimit(), SrcAddr: was.SourceAddress(), DstAddr: was.DestinationAddress(),
		})
	default:
		return nil
	}
	raw = append(raw, transport...)
	return append(raw, pkt.Data().AsRange().ToSlice()...)
}

package stack

import (
	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// The way in. deliver runs on the goroutine that reads the conn, which never
// waits: not for room, not for a lock whose holder may wait for room.
//
//	conn → door → UDP            → its socket
//	            → ICMP echo      → answered here
//	            → ICMP error     → filter → control goroutine → engine
//	            → TCP            → the engine's transport layer
//	            → fragments and  → the engine's IP layer → Reassembled → door
//	              IP options

// deliver takes one packet from the conn.
func (s *Stack) deliver(b []byte) {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.shut {
		return
	}
	if cause := s.door.Check(&s.packet, b); cause != drop.None {
		s.drops.Add(cause)
		return
	}
	if s.packet.Fragment || s.packet.Options {
		s.engine.Load().DeliverIP(&s.packet)
		return
	}
	s.route(&s.packet)
}

// route hands a whole packet, without options, to what serves its protocol.
func (s *Stack) route(p *packet.Packet) {
	switch p.Proto {
	case packet.TCP:
		s.engine.Load().DeliverTCP(p)
	case packet.UDP:
		s.udp.table.HandlePacket(p)
	case packet.ICMPv4, packet.ICMPv6:
		s.icmp.handle(p)
	default:
		s.drops.Add(drop.UnknownProtocol)
	}
}

// engineHandler is what the engine hands back; its methods run inside deliver.
type engineHandler struct{ *Stack }

// SYN implements netstack.Handler.
func (h engineHandler) SYN(p *packet.Packet) {
	if !h.tcp.table.HandleSYN(p) {
		h.refuse(p, drop.NobodyListens)
	}
}

// Stray implements netstack.Handler: a segment of no connection is answered by
// a reset (RFC 9293, 3.10.7.1).
func (h engineHandler) Stray(p *packet.Packet) {
	if h.tcp.table.HandleStray(p) {
		return
	}
	if p.Flags&packet.RST != 0 {
		h.drops.Add(drop.NoFlow)
		return
	}
	h.refuse(p, drop.NoFlow)
}

// Reassembled implements netstack.Handler: the packet goes through the door as a
// whole, because only now its ports and its checksum can be judged.
func (h engineHandler) Reassembled(raw []byte) {
	p := &h.whole
	if cause := h.door.Check(p, raw); cause != drop.None {
		h.drops.Add(cause)
		return
	}
	if p.Fragment || p.Options {
		h.drops.Add(drop.BadExtension) // it cannot be: the engine has walked them
		return
	}
	h.route(p)
}

// refuse counts p and answers it with a reset.
func (s *Stack) refuse(p *packet.Packet, cause drop.Cause) {
	s.drops.Add(cause)
	var buf [packet.MaxReset]byte
	s.link.WriteControl(packet.AppendReset(buf[:0], p))
}

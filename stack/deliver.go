package stack

import (
	"l3extract/internal/drop"
	"l3extract/internal/link"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

// The way in. deliver runs on the goroutine that reads the conn, which never
// waits: not for room, not for a lock whose holder may wait for room.
//
//	conn → door → UDP            → its socket
//	            → ICMP echo      → answered here, or to the acceptor of pings
//	            → ICMP error     → filter → control goroutine → engine
//	            → TCP            → the engine's transport layer
//	            → fragments and  → the engine's IP layer → Reassembled → door
//	              IP options

// deliverBatch is how many packets are decoded at a time, to find those that
// merge into one segment: as many as a plain conn's reader has ready at most. A
// segment of 64 KiB is 46 packets of 1500 bytes.
const deliverBatch = 128

// deliver takes packets from the conn.
func (s *Stack) deliver(pkts []link.Packet) {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.shut {
		return
	}
	s.budget.Tick(nanotime())
	s.udp.table.BeginBatch()
	for len(pkts) > 0 {
		n := min(len(pkts), deliverBatch)
		s.deliverSome(pkts[:n])
		pkts = pkts[n:]
	}
	s.udp.table.EndBatch()
}

// deliverSome takes at most deliverBatch packets. TCP segments that continue
// their forerunner wait for the end of their run; all else goes at once.
func (s *Stack) deliverSome(pkts []link.Packet) {
	engine := s.engine.Load()
	run, total := s.segments[:0], 0
	for i := range pkts {
		p := &s.packets[i]
		cause := s.check(p, &pkts[i])
		switch {
		case cause != drop.None && cause != drop.UnknownProtocol:
			s.drops.Add(cause)
			continue
		case p.TTL <= 1 && s.icmp.expired(p):
			continue
		case len(s.cfg.Groups) > 0 && s.groups.HandlePacket(p):
			continue
		case cause == drop.UnknownProtocol && !(p.Fragment && s.raw.Wants(p)):
			s.icmp.unknown(p)
			continue
		}
		// Such a segment is read no more than once into memory, and large enough alone.
		keep := pkts[i].Buffer != nil && p.Proto == packet.TCP && !p.Options && !p.Fragment &&
			netstack.Keeps(len(p.Raw))
		if len(run) > 0 {
			if !keep && netstack.Merges(run[len(run)-1], p, total) {
				run = append(run, p)
				total += len(p.Payload)
				continue
			}
			if len(run) == 1 && netstack.Supersedes(run[0], p) {
				run[0] = p
				continue
			}
			engine.DeliverRun(run)
			run = run[:0]
		}
		switch {
		case keep:
			engine.DeliverBuffer(p, pkts[i].Buffer)
			pkts[i].Buffer = nil
		case p.Fragment:
			s.fragment(engine, p)
		case p.Options:
			s.vouched = pkts[i].Verified
			engine.DeliverIP(p)
		case p.Proto == packet.TCP:
			run, total = append(run, p), len(p.Payload)
		case p.Proto == packet.UDP && pkts[i].Datagram > 0:
			s.datagrams(p, pkts[i].Datagram)
		default:
			s.route(p)
		}
	}
	if len(run) > 0 {
		engine.DeliverRun(run)
	}
}

// check lets a packet in or says why not. What the conn vouches for is not summed
// again.
func (s *Stack) check(p *packet.Packet, in *link.Packet) drop.Cause {
	check := s.door.Check
	if in.Verified {
		check = s.door.CheckVerified
	}
	cause := check(p, in.Data)
	if cause == drop.None && p.Version == 6 && s.cfg.MTU < minMTU6 {
		cause = drop.IPv6Off
	}
	return cause
}

// fragment gives a fragment to the engine's reassembly, if there is room for it.
func (s *Stack) fragment(engine *netstack.Shards, p *packet.Packet) {
	if cause := s.fragments.admit(p); cause != drop.None {
		s.drops.Add(cause)
		return
	}
	s.vouched = false
	engine.DeliverIP(p)
	s.fragments.current = nil
}

// datagrams hands on a run of datagrams behind one header, each with size bytes
// of payload but the last.
func (s *Stack) datagrams(run *packet.Packet, size int) {
	one := *run
	for payload := run.Payload; len(payload) > 0; {
		n := min(size, len(payload))
		one.Payload = payload[:n]
		payload = payload[n:]
		s.udp.table.HandlePacket(&one)
	}
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
		s.icmp.unknown(p)
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
// whole, because only now its ports and its checksum can be judged. The conn vouches
// for a checksum that it was given, not for that of what fragments make up.
func (h engineHandler) Reassembled(raw []byte) {
	h.fragments.whole()
	p := &h.whole
	if cause := h.check(p, &link.Packet{Data: raw, Verified: h.vouched}); cause != drop.None && cause != drop.UnknownProtocol {
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

package udp

import (
	"net/netip"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// open makes a Socket of the datagram p, if it may, and offers it to the
// acceptor. It returns false when the Socket is there already.
func (t *Table) open(p *packet.Packet, src, dst netip.AddrPort) bool {
	if cause := t.judge(src, dst); cause != drop.None {
		t.env.Drops.Add(cause)
		if cause == drop.UDPNobody || cause == drop.UDPRefused {
			t.unreachable(packet.Fault{Kind: packet.PortUnreachable}, p.Raw)
		}
		return true
	}
	s := newSocket(t, accepted, t.cfg.Mapping, netip.AddrPort{}, netip.AddrPort{})
	if t.cfg.Mapping != PerDestination {
		s.peer = src
	}
	if t.cfg.Mapping != PerSource {
		s.local = dst
	}
	s.first = append([]byte(nil), p.Raw[:min(len(p.Raw), p.HeaderLen+8)]...)
	s.place.key = keyOf(t.cfg.Mapping, src, dst)
	s.place.noDNS = dst.Port() != portDNS
	// The first datagram goes in before anyone can see the Socket.
	if s.enqueue(src, dst, p.Payload, p.TTL, nil) != drop.None {
		return true // no memory, so there would be nothing to read
	}
	if !t.insert(s, src.Addr()) {
		s.release(s.queue.pop()) // nobody else has seen s
		s.filter.free()
		return false
	}
	t.register(s)
	if !t.acceptor.offer(s) {
		s.end(flow.Limit, drop.UDPAcceptQueueFull)
	}
	return true
}

// judge tells why a datagram may not open a Socket.
func (t *Table) judge(src, dst netip.AddrPort) drop.Cause {
	if cause := t.acceptor.room(); cause != drop.None {
		return cause
	}
	if t.cfg.Admit == nil {
		return drop.None
	}
	switch t.cfg.Admit(src, dst) {
	case Accept:
		return drop.None
	case Refuse:
		return drop.UDPRefused
	}
	return drop.UDPDropped
}

// insert files the accepted Socket s, evicting others where a limit demands it.
// It fails when another is there already, and when the table has ended.
func (t *Table) insert(s *Socket, src netip.Addr) bool {
	source := t.env.SourceKey(src)
	var ofAll, ofSource *Socket // evicted
	now := t.now()
	t.mu.Lock()
	if t.cause != nil || t.mapped[s.place.key] != nil {
		t.mu.Unlock()
		return false
	}
	if n := t.sources.count(source); n > 0 && reached(n, t.cfg.MaxSocketsPerSource) {
		ofSource = t.sources.oldestOf(source)
		t.removeLocked(ofSource, now)
	}
	if n := t.sources.total; n > 0 && reached(n, t.cfg.MaxSockets) {
		ofAll = t.sources.victim(source)
		t.removeLocked(ofAll, now)
	}
	t.mapped[s.place.key] = s
	t.sources.add(s, source)
	s.place.in = true
	s.place.last = now
	t.schedule(s)
	t.mu.Unlock()
	if ofAll != nil {
		t.evicted.Add(1)
		t.env.Drops.Add(drop.UDPSocketLimit)
		ofAll.end(flow.Evicted, drop.UDPClosed)
	}
	if ofSource != nil {
		t.evictedSource.Add(1)
		t.env.Drops.Add(drop.UDPSourceLimit)
		ofSource.end(flow.Evicted, drop.UDPClosed)
	}
	return true
}

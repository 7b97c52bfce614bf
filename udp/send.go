package udp

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// send makes packets of a payload of s and gives them to the conn. from and to
// are checked. It never waits: what the way out has no room for is dropped there
// and counted.
func (t *Table) send(s *Socket, from, to netip.AddrPort, payload []byte) error {
	if len(payload) > t.maxPayload(to.Addr()) {
		t.env.Drops.Add(drop.UDPTooLarge)
		s.lostOut.Add(1)
		return syscall.EMSGSIZE
	}
	t.wrote(s)
	if t.env.own(to.Addr()) {
		t.loop(s, from, to, payload)
		return nil
	}
	o := getOutgoing()
	o.add(payload)
	if !t.transmit(o, from, to) {
		s.lostOut.Add(1)
	}
	o.free()
	return nil
}

// transmit sends the one datagram in o and reports whether it was taken.
func (t *Table) transmit(o *outgoing, from, to netip.AddrPort) bool {
	if t.segments != nil && t.fits(o.total, to.Addr()) {
		return t.emit(o, from, to)
	}
	buf := getPacketBuffer()
	defer putPacketBuffer(buf)
	b := packet.AppendUDP((*buf)[:0], from, to, uint8(t.cfg.HopLimit), uint8(t.cfg.TrafficClass), o.parts[1])
	*buf = b
	switch {
	case len(b) > t.env.MTU:
		return t.sendFragments(b)
	case t.cfg.DontFragment:
		packet.SetDontFragment(b)
	default:
		// A smaller link on the way may fragment it, which needs a number.
		identify(b, uint16(t.env.Uint32()))
	}
	return t.env.Out.WriteDatagram(b)
}

// wrote notes that the application of s sends, if that matters.
func (t *Table) wrote(s *Socket) {
	if t.cfg.WriteRefreshes {
		s.place.written.Store(t.now())
	}
}

// sendFragments reports whether all fragments of b were taken. It stops at the
// first that is dropped: the others are of no use without it.
func (t *Table) sendFragments(b []byte) bool {
	sent := true
	err := packet.Fragment(b, t.env.MTU, t.env.Uint32(), func(f []byte) {
		sent = sent && t.env.Out.WriteDatagram(f)
	})
	if err != nil {
		t.env.Drops.Add(drop.UDPTooLarge)
	}
	return sent && err == nil
}

// identify sets the identification, which is 0, of the IPv4 packet b.
func identify(b []byte, id uint16) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	binary.BigEndian.PutUint16(b[4:], id)
	sum := uint32(^binary.BigEndian.Uint16(b[10:])) + uint32(id) // RFC 1624
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum&0xffff))
}

// loop delivers a datagram of s to an own address, which never leaves through
// the conn. Only Sockets from Listen and Dial can receive it; without one the
// sender is told as by an ICMP error.
func (t *Table) loop(s *Socket, from, to netip.AddrPort, payload []byte) {
	t.mu.Lock()
	r := t.own.find(&t.env, from, to)
	t.mu.Unlock()
	if r != nil && r.enqueue(from, to, payload, 0, nil) != drop.Closed {
		return
	}
	t.env.Drops.Add(drop.OwnAddressUnreachable)
	s.lostOut.Add(1)
	if s.peer.IsValid() {
		s.report(&toldError{syscall.ECONNREFUSED, packet.Fault{Kind: packet.PortUnreachable, From: to.Addr()}})
	}
}

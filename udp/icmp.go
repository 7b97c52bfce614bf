package udp

import (
	"net/netip"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// HandleError takes an ICMP error that quotes a datagram of ours. The Socket
// that sent it returns a fitting error from its next call, once, and lives on
// (RFC 4787 REQ-10); one with many clients behind it, from Listen or
// PerDestination, is not told, as with kernels. It never waits.
//
// One client must not speak for another: that a port or a protocol is unreachable is
// the word of the host it is about, and what the Socket's filter would not let out was
// not sent. Any router may report the rest.
func (t *Table) HandleError(e packet.ICMPError) {
	if e.Proto != packet.UDP {
		return
	}
	s, ok := t.sender(e.Dst, e.Src)
	switch {
	case !ok, s != nil && !s.maySend(e.Src):
		t.env.Drops.Add(drop.ICMPNoFlow)
		return
	case (e.Kind == packet.PortUnreachable || e.Kind == packet.ProtocolUnreachable) && e.From != e.Dst.Addr():
		t.env.Drops.Add(drop.ICMPStranger)
		return
	}
	if errno := t.errorOf(e.Kind); errno != 0 && s != nil {
		s.report(&toldError{errno, packet.Fault{Kind: e.Kind, From: e.From, MTU: e.MTU}})
	}
}

// sender returns the Socket that sent a datagram from local to peer, or nil if
// that one has many peers; ok is false when there is none.
func (t *Table) sender(peer, local netip.AddrPort) (s *Socket, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s = t.own.find(&t.env, peer, local); s == nil {
		s = t.mapped[keyOf(t.cfg.Mapping, peer, local)]
	}
	if s != nil && s.mapping == PerDestination {
		return nil, true
	}
	return s, s != nil
}

// errorOf returns what an ICMP error means for who sent the datagram; 0 for
// those that may pass.
func (t *Table) errorOf(kind packet.Unreachable) syscall.Errno {
	if kind == packet.TimeExceeded || kind == packet.TooBig && !t.cfg.DontFragment {
		return 0
	}
	return kind.Errno()
}

// unreachable sends an ICMP error about a packet that came from a client, from whom
// it names, or else as if from its destination. It may run on the goroutine that reads
// the conn.
func (t *Table) unreachable(f packet.Fault, quoted []byte) {
	if src, dst := ends(quoted); t.mayReport(src, dst) {
		t.report(f, dst, quoted)
	}
}

// report is unreachable once it may; quoted went to dst.
func (t *Table) report(f packet.Fault, dst netip.Addr, quoted []byte) {
	if from := f.From.Unmap().WithZone(""); from.IsValid() && from.Is4() == dst.Is4() && !from.IsLoopback() {
		dst = from
	}
	buf := getPacketBuffer()
	defer putPacketBuffer(buf)
	b := packet.AppendICMPError((*buf)[:0], dst, f.Kind, quoted, f.MTU)
	if len(b) > 0 { // else it is nothing that can be sent
		t.env.Out.WriteControl(b)
	}
}

// mayReport tells whether src may be sent an ICMP error about what it sent to dst, and
// counts that: what was sent to many is not reported, nor is more than the rate. It
// is asked before anything is built, which costs more.
func (t *Table) mayReport(src, dst netip.Addr) bool {
	if t.env.ToMany(dst) {
		return false
	}
	if !t.env.AllowICMP(src) {
		t.env.Drops.Add(drop.ICMPRate)
		return false
	}
	return true
}

// ends returns the addresses in the IP header of pkt, zero when it is too short.
func ends(pkt []byte) (src, dst netip.Addr) {
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(pkt[12:16])), netip.AddrFrom4([4]byte(pkt[16:20]))
	case len(pkt) >= 40 && pkt[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(pkt[8:24])), netip.AddrFrom16([16]byte(pkt[24:40]))
	}
	return netip.Addr{}, netip.Addr{}
}

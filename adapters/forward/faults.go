package forward

import (
	"net/netip"
	"slices"

	"l3extract/internal/packet"
	"l3extract/udp"
)

// sendAgain is how often a send that fails is tried again on a socket with an error
// queue: mostly its error is that of an ICMP error about something sent before, which
// is told once, and may be told when somebody else has emptied the queue already. An
// error of its own comes again.
const sendAgain = 2

// highHops is where a TTL or hop limit begins to be anybody's default: 64 and more,
// less the routers on the way. A lower one means something to who chose it, mostly
// traceroute, and is kept; the others are left to the host, which costs nothing.
const highHops = 34

// lowHops returns the hops that a datagram of a client is sent on with, 0 for the
// host's own default.
func (n *session) lowHops(ttl uint8, client netip.Addr) uint8 {
	if ttl == 0 || ttl >= highHops {
		return 0
	}
	return n.hopsLeft(ttl, client)
}

// hopsLeft returns what is left of the TTL of a client's packet behind the stack.
func (n *session) hopsLeft(ttl uint8, client netip.Addr) uint8 {
	if _, hop := n.stack.HopAddr(client); hop {
		ttl--
	}
	return max(ttl, 1)
}

// maxTargets bounds the targets that a socket remembers, of 32 bytes each.
const maxTargets = 64

// targets are those that a client asked last, the last one first.
type targets []netip.AddrPort

// add puts a in front. It grows with what there is: most sockets have one target.
func (t *targets) add(a netip.AddrPort) {
	i := slices.Index(*t, a)
	switch {
	case i >= 0:
	case len(*t) < maxTargets:
		*t = append(*t, a)
		i = len(*t) - 1
	default:
		i = maxTargets - 1 // the oldest goes
	}
	copy((*t)[1:i+1], (*t)[:i])
	(*t)[0] = a
}

// hasAsked tells whether target is one that the client asked lately.
func (s *socket) hasAsked(target netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.asked, target)
}

// faulted tells the client of an ICMP error that upstream reported about a datagram. A
// kernel believes any error that quotes the port of an unconnected socket, from anybody:
// one about a target that the client has not asked is forged, and goes no further.
func (s *socket) faulted(q queuedFault) {
	if q.fault.Kind == 0 || !q.target.IsValid() {
		return
	}
	if !s.hasAsked(q.target) {
		s.session.stats.datagramErrorsForged.Add(1)
		return
	}
	name, _ := s.called(nil, origin{addr: q.target})
	m := udp.Msg{Source: s.sock.Source(), Destination: name, Payload: q.payload}
	f := asSeen(q.fault, q.target.Addr(), name.Addr())
	s.session.stats.datagramErrors.Add(1)
	_ = s.sock.Refuse(m, &f) // fails for one that has ended, or was never sent, which is as well
}

// asSeen returns f as a client sees it that calls target name: what it knows under
// another name reports under that one, and links have another header size where the
// two are of different families.
func asSeen(f packet.Fault, target, name netip.Addr) packet.Fault {
	if f.From == target || f.From.Is4() != name.Is4() {
		f.From = name
	}
	const wider = 20 // the IPv6 header than the IPv4 one
	switch {
	case f.MTU == 0:
	case target.Is6() && name.Is4():
		f.MTU = max(f.MTU-wider, 0)
	case target.Is4() && name.Is6():
		f.MTU += wider
	}
	return f
}

package udp

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"l3extract/internal/drop"
)

// Header lengths without options and the size limits that follow from the length
// fields.
const (
	header4 = 20 + 8
	header6 = 40 + 8
	max4    = 65535 - header4 // the total length field counts the IP header
	max6    = 65535 - 8       // the payload length field does not
)

// MaxPayload returns the length of the largest payload that can be sent, in
// bytes: what one packet of the MTU holds with [Config].DontFragment, else what
// UDP can carry at all, in fragments.
func (s *Socket) MaxPayload() int {
	switch {
	case s.peer.IsValid():
		return s.t.maxPayload(s.peer.Addr())
	case s.local.IsValid():
		return s.t.maxPayload(s.local.Addr())
	}
	return min(s.t.maxPayload(netip.IPv4Unspecified()), s.t.maxPayload(netip.IPv6Unspecified()))
}

// maxPayload returns the largest payload for packets of a's family.
func (t *Table) maxPayload(a netip.Addr) int {
	header, most := header6, max6
	if a.Is4() {
		header, most = header4, max4
	}
	if t.cfg.DontFragment {
		most = max(0, min(most, t.env.MTU-header))
	}
	return most
}

// WriteMsg sends m.Payload as one datagram from m.Source to m.Destination. An
// end that the mapping fixes may be left zero. It returns the errors of WriteTo.
func (s *Socket) WriteMsg(m Msg) (int, error) {
	named := m.Destination
	if s.mapping == PerSource {
		named = m.Source
	}
	return s.write(m.Payload, m.Source, m.Destination, named)
}

// WriteToUDPAddrPort is [Socket.WriteTo] without an allocation.
func (s *Socket) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	open := addr
	if !open.IsValid() {
		open = netip.AddrPortFrom(netip.IPv4Unspecified(), 0) // none, not "the fixed end"
	}
	if s.mapping == PerSource {
		return s.write(b, open, netip.AddrPort{}, addr)
	}
	return s.write(b, netip.AddrPort{}, open, addr)
}

// WriteTo implements net.PacketConn: it sends b as one datagram. For PerSource
// it goes to the client, and addr is the address it comes from; for PerFlow addr
// must be the client; for PerDestination it goes to addr from the address
// dialled.
//
// It never waits: a datagram that finds the way out full is dropped and counted,
// as any network does. It fails with EMSGSIZE above [Socket.MaxPayload],
// EDESTADDRREQ when addr is nil, unspecified or has no port, EACCES when the
// mapping or the filtering forbids addr, EAFNOSUPPORT when it is of the other IP
// version, and with ECONNREFUSED and the like once after the client has
// answered with an ICMP error, which errors.As finds as an *icmp.Error; nothing was
// sent then, and the same call may be made again.
func (s *Socket) WriteTo(b []byte, addr net.Addr) (int, error) {
	switch a := addr.(type) {
	case *net.UDPAddr:
		if a != nil {
			return s.WriteToUDPAddrPort(b, a.AddrPort())
		}
	case interface{ AddrPort() netip.AddrPort }:
		return s.WriteToUDPAddrPort(b, a.AddrPort())
	case nil:
	default:
		// A foreign type: what it prints is an address, or it is no use to us.
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			return s.WriteToUDPAddrPort(b, ap)
		}
		return 0, s.opError(opWrite, addr, syscall.EINVAL)
	}
	return s.WriteToUDPAddrPort(b, netip.AddrPort{})
}

// write sends b; named is the address that an error speaks of.
func (s *Socket) write(b []byte, from, to, named netip.AddrPort) (int, error) {
	from, to, err := s.admit(from, to)
	if err == nil {
		err = s.t.send(s, from, to, b)
	}
	if err != nil {
		return 0, s.opError(opWrite, addrOf(named), err)
	}
	s.sentOut(1, len(b))
	return len(b), nil
}

// admit returns the ends of a datagram to send, or why it may not be sent.
func (s *Socket) admit(from, to netip.AddrPort) (netip.AddrPort, netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return from, to, s.ended
	case passed(s.writeDeadline):
		return from, to, os.ErrDeadlineExceeded
	case s.pending != nil:
		err := s.pending
		s.pending = nil
		return from, to, err
	}
	from, to, err := s.route(from, to)
	if err != nil {
		return from, to, err
	}
	far := from
	if s.mapping == PerDestination {
		far = to
	}
	if !s.filter.allows(far) {
		s.t.env.Drops.Add(drop.UDPFiltered)
		s.lostOut.Add(1)
		return from, to, syscall.EACCES
	}
	return from, to, nil
}

// route fills in the ends that the mapping fixes and checks the others.
func (s *Socket) route(from, to netip.AddrPort) (netip.AddrPort, netip.AddrPort, error) {
	from, to = plain(from), plain(to)
	to, err := fixedEnd(s.peer, to)
	if err != nil {
		return from, to, err
	}
	if s.everyLocal() {
		from, err = s.ownEnd(from, to)
	} else {
		from, err = fixedEnd(s.local, from)
	}
	switch {
	case err != nil:
		return from, to, err
	case from.Addr().Is4() != to.Addr().Is4():
		return from, to, syscall.EAFNOSUPPORT
	case s.t.env.ToMany(from.Addr()), from.Addr().IsLoopback():
		return from, to, syscall.EACCES
	case to.Addr().IsLoopback():
		return from, to, syscall.ENETUNREACH
	}
	return from, to, nil
}

// fixedEnd returns the end that a datagram has: fixed, unless that is zero, or
// else what was asked for.
func fixedEnd(fixed, asked netip.AddrPort) (netip.AddrPort, error) {
	switch {
	case !fixed.IsValid():
		if !usable(asked) {
			return asked, syscall.EDESTADDRREQ
		}
		return asked, nil
	case asked == netip.AddrPort{} || asked == fixed:
		return fixed, nil
	case !usable(asked):
		return asked, syscall.EDESTADDRREQ
	}
	return asked, syscall.EACCES
}

// everyLocal tells whether the Socket listens on all our addresses.
func (s *Socket) everyLocal() bool {
	return s.kind == listening && (!s.local.IsValid() || s.local.Addr().IsUnspecified())
}

// ownEnd returns the end of a datagram that a Socket on all our addresses sends.
func (s *Socket) ownEnd(asked, to netip.AddrPort) (netip.AddrPort, error) {
	if asked != (netip.AddrPort{}) {
		if !s.t.env.own(asked.Addr()) || asked.Port() != s.local.Port() {
			return asked, syscall.EACCES
		}
		return asked, nil
	}
	a, ok := s.t.env.ownFor(to.Addr())
	if !ok || s.local.IsValid() && s.local.Addr().Is4() != a.Is4() {
		return asked, syscall.EAFNOSUPPORT
	}
	return netip.AddrPortFrom(a, s.local.Port()), nil
}

func usable(a netip.AddrPort) bool {
	return a.IsValid() && a.Port() != 0 && !a.Addr().IsUnspecified()
}

// plain returns a in the one form that packets have: no IPv4-mapped address, no
// zone.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

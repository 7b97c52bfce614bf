package udp

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"l3extract/internal/budget"
)

// Listen returns a Socket that receives what anyone sends to local, one of the
// stack's own addresses; it wins over the Acceptor. It has the view of
// [PerDestination] and never expires. An unspecified address means all own
// addresses of that IP version, an invalid one (the zero netip.Addr) all of both;
// port 0 means one that is chosen at random.
//
// It fails with EADDRNOTAVAIL for an address that is not the stack's, EADDRINUSE
// for one that is taken, and net.ErrClosed after the end of the stack.
func (t *Table) Listen(local netip.AddrPort) (*Socket, error) {
	s := newSocket(t, listening, PerDestination, netip.AddrPort{}, plain(local))
	err := t.mayListen(s.local.Addr())
	if err == nil {
		err = t.bind(s)
	}
	if err != nil {
		return nil, &net.OpError{Op: opListen, Net: network, Addr: addrOf(local), Err: err}
	}
	return s, nil
}

func (t *Table) mayListen(a netip.Addr) error {
	switch {
	case !a.IsValid() && len(t.env.Addrs) > 0:
		return nil
	case a.IsValid() && a.IsUnspecified():
		if _, ok := t.env.ownFor(a); ok {
			return nil
		}
		return noAddr(a)
	case t.env.own(a):
		return nil
	}
	return syscall.EADDRNOTAVAIL
}

// Dial returns a [Conn] between local, one of the stack's own addresses, and
// remote. It sends nothing yet and never expires. A zero or unspecified address
// means the stack's first of remote's IP version; port 0 means one that is chosen
// at random. Reads and writes fail once with ECONNREFUSED and the like after
// remote's host has answered with an ICMP error.
//
// It fails with EADDRNOTAVAIL for a local address that is not the stack's,
// EADDRINUSE for one that is taken, EDESTADDRREQ for a remote one without an
// address or a port, ENETUNREACH for a loopback address, and net.ErrClosed after
// the end of the stack.
func (t *Table) Dial(local, remote netip.AddrPort) (net.Conn, error) {
	local, remote = plain(local), plain(remote)
	local, err := t.localFor(local, remote)
	if err == nil {
		s := newSocket(t, dialled, PerFlow, remote, local)
		if err = t.bind(s); err == nil {
			return &Conn{s}, nil
		}
	}
	return nil, &net.OpError{Op: opDial, Net: network, Source: addrOf(local), Addr: addrOf(remote), Err: err}
}

// localFor returns the local end for remote.
func (t *Table) localFor(local, remote netip.AddrPort) (netip.AddrPort, error) {
	a := local.Addr()
	switch {
	case !usable(remote):
		return local, syscall.EDESTADDRREQ
	case remote.Addr().IsLoopback():
		return local, syscall.ENETUNREACH
	case !a.IsValid() || a.IsUnspecified():
		a, ok := t.env.ownFor(remote.Addr())
		if !ok {
			return local, noAddr(remote.Addr())
		}
		return netip.AddrPortFrom(a, local.Port()), nil
	case !t.env.own(a):
		return local, syscall.EADDRNOTAVAIL
	case a.Is4() != remote.Addr().Is4():
		return local, syscall.EAFNOSUPPORT
	}
	return local, nil
}

// bind files s with the table and the stack's flows.
func (t *Table) bind(s *Socket) error {
	random := t.env.Uint32()
	t.mu.Lock()
	err := t.cause
	if err != nil {
		err = closedError(err)
	} else if err = t.own.bind(s, random); err == nil {
		s.place.in = true
	}
	t.mu.Unlock()
	if err == nil {
		t.register(s)
	}
	return err
}

// register files s with the stack's flows.
func (t *Table) register(s *Socket) {
	t.memory.hold(budget.SocketCost) // until its end
	t.env.Flows.Add(s.id, s)
	if s.err() != nil { // it ended meanwhile, when it could not be taken out yet
		t.env.Flows.Remove(s.id, s.FlowInfo())
	}
}

// noAddr says that the stack has no address of a's family.
func noAddr(a netip.Addr) error {
	version := 6
	if a.Is4() {
		version = 4
	}
	return fmt.Errorf("no IPv%d address in stack.Config.Addrs: %w", version, syscall.EADDRNOTAVAIL)
}

package forward

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"l3extract/adapters/internal/hop"
	"l3extract/stack"
)

// localAddr is the address of localOf.
func localAddr(fd int) netip.Addr { return localOf(fd).Addr() }

// localOf returns the address that a socket is bound to.
func localOf(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return plain(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
	}
	return netip.AddrPort{}
}

// via says by what u leaves.
func (u *upstream) via() (netip.Addr, int) { return localOf(u.fd).Addr(), hop.BoundTo(u.fd) }

// via says by what s leaves.
func (s *pingSocket) via() (netip.Addr, int) { return hop.Via(s.conn) }

// endVia implements viaer.
func (p *pair) endVia(lost func(local netip.Addr, index int) bool) bool {
	p.up.Lock()
	fd := p.sock.FD
	var local netip.AddrPort
	var index int
	if fd >= 0 {
		local, index = localOf(fd), hop.BoundTo(fd)
	}
	p.up.Unlock()
	if fd < 0 || !lost(local.Addr(), index) {
		return false
	}
	if g := p.dial.Load(); g != nil {
		p.dialFailed(g, dialError(g, errPathLost))
	} else {
		p.stop(stack.PathLost)
	}
	return true
}

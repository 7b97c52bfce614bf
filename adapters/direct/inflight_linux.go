package direct

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// localAddr returns the local address of a socket; zero if it has none, or is closed.
func localAddr(c syscall.RawConn) (local netip.AddrPort) {
	_ = c.Control(func(fd uintptr) {
		switch sa, _ := unix.Getsockname(int(fd)); sa := sa.(type) {
		case *unix.SockaddrInet4:
			local = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
		case *unix.SockaddrInet6:
			local = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
		}
	})
	return local
}

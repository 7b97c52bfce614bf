package hop

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"l3extract/adapters/outbound"
)

// Tell tells whoever asked for it by outbound.WithSocket of a connection that was opened
// before, for others.
func Tell(ctx context.Context, c net.Conn) {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			outbound.Socket(ctx, raw)
		}
	}
}

// Via says by what a connection or socket leaves this host: its local address, and the
// index of the interface that it is bound to. They are not valid and 0 where that is not
// known. What a conn with NetConn is made of, as that of TLS, is looked at in its place.
func Via(c interface{ LocalAddr() net.Addr }) (local netip.Addr, index int) {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = outer.NetConn()
	}
	switch a := c.LocalAddr().(type) {
	case nil:
	case interface{ AddrPort() netip.AddrPort }:
		local = a.AddrPort().Addr().Unmap()
	default:
		ap, _ := netip.ParseAddrPort(a.String()) // "@" of a Unix socket, and the like
		local = ap.Addr().Unmap()
	}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { index = BoundTo(int(fd)) }) // 0 if it is closed
		}
	}
	return local, index
}

//go:build !linux

package forward

import (
	"net"
	"net/netip"
	"syscall"
)

func rawConn(net.PacketConn) syscall.RawConn { return nil }

// receiveRaw is not called: rawConn finds nothing.
func (o *outlet) receiveRaw() (*buffer, []byte, netip.AddrPort, error) {
	return nil, nil, netip.AddrPort{}, net.ErrClosed
}

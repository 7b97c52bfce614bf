//go:build !linux

package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

// pingSocket is not to be had here: errors of ICMP, which traceroute and a dead host
// need, have no portable way up.
type pingSocket struct{}

func newPingSocket(pc net.PacketConn, _ bool) (*pingSocket, error) {
	return nil, errors.Join(fmt.Errorf("forward: pings need Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported), pc.Close())
}

func (s *pingSocket) close() {}

func (s *pingSocket) send(uint16, []byte, netip.Addr, uint8) error { return net.ErrClosed }

func (s *pingSocket) receive(func(bool, uint16, netip.Addr, []byte, uint8), func(bool, uint16, queuedFault)) {
}

func (s *pingSocket) faults(func(bool, uint16, queuedFault)) bool { return false }

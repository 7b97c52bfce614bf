//go:build !linux

package forward

import (
	"net"
	"net/netip"
	"syscall"

	"l3extract/internal/packet"
)

func rawConn(net.PacketConn) syscall.RawConn { return nil }

// queuedFault is an ICMP error of upstream, which no socket here tells of.
type queuedFault struct {
	target  netip.AddrPort
	payload []byte
	fault   packet.Fault
}

func (o *outlet) prepare() {}

func (o *outlet) queues() bool { return false }

func (o *outlet) faults(func(queuedFault)) bool { return false }

// sendHops is not called: rawConn finds nothing.
func (o *outlet) sendHops([]byte, netip.AddrPort, uint8) error { return net.ErrClosed }

// receiveRaw is not called: rawConn finds nothing.
func (o *outlet) receiveRaw() (*buffer, []byte, netip.AddrPort, error) {
	return nil, nil, netip.AddrPort{}, net.ErrClosed
}

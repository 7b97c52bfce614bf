package main

import (
	"context"
	"net/netip"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
)

// instead says where a destination really is, and false for one that is what it
// says: an address given to -host-loopback, the demo's server.
type instead func(netip.AddrPort) (netip.AddrPort, bool)

// route is forward.Server's Route. Of all addresses that the policy refuses, only
// what something else stands for is reached.
func (in instead) route(_ context.Context, f outbound.Flow) (forward.Target, error) {
	if in != nil {
		if real, ok := in(f.Destination); ok {
			return forward.Target{Addr: real, Trusted: true}, nil
		}
	}
	return forward.Target{}, nil
}

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// hostLoopback makes each of these addresses stand for the host's loopback
// address of its family.
func hostLoopback(stand []netip.Addr) instead {
	return func(dst netip.AddrPort) (netip.AddrPort, bool) {
		for _, a := range stand {
			if a != dst.Addr() {
				continue
			}
			if a.Is4() {
				return netip.AddrPortFrom(loopback4, dst.Port()), true
			}
			return netip.AddrPortFrom(loopback6, dst.Port()), true
		}
		return netip.AddrPort{}, false
	}
}

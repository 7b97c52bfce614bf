package main

import "net/netip"

// instead says where a destination really is, and false for one that is what it
// says: an address given to -host-loopback, the demo's server.
type instead func(netip.AddrPort) (netip.AddrPort, bool)

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

// Package tun is a packet conn over the system's TUN interface.
//
//	dev, err := tun.Open(&tun.Config{
//		Name:   "l3e0",
//		Addrs:  []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
//		Routes: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15")},
//	})
//
// The kernel is at one end of the link, the Device is the other: what the host
// sends through the interface is read, what is written arrives at the host.
//
// On Linux the Device is native: Go's poller, deadlines, batches, and a Write
// that never waits (l3conn.DirectWriter); addresses, routes, MTU and the up flag
// are set by netlink, in another network namespace too. FromFD takes over an
// interface that somebody else opened, for example in a namespace that this
// process cannot see, or Android's VpnService.
//
// The kernel can leave to the Device what it leaves to a network card, and the
// Device to the kernel: checksums, and cutting TCP streams and runs of UDP
// datagrams (Linux 6.2) into packets. Whoever wants that finds an
// l3conn.Offloader and enables it; to everybody else the kernel gives finished
// packets. OpenQueues opens several queues of one interface.
//
// On macOS, iOS, Windows (where wintun.dll must be found), FreeBSD and OpenBSD
// the Device stands on WireGuard's tun package; there the interface gets its
// name and MTU from Open, and addresses and routes from the system's own tools.
// Elsewhere Open and FromFD return an error that matches errors.ErrUnsupported.
//
// Opening an interface takes CAP_NET_ADMIN in its network namespace, or an
// interface that was made for the user beforehand (ip tuntap add user); see
// Config.Persist. An Open that fails leaves nothing behind.
package tun

// Package ether carries IP packets over an Ethernet segment: that of a virtual
// machine, or of a Linux tap. It is the gateway there.
//
//	carrier, err := ether.Stream(stream)     // qemu: -netdev stream,...
//	conn, err := ether.New(carrier, nil)
//	s, err := stack.New(conn, &stack.Config{Addrs: conn.Addrs()})
//
// A carrier is any l3conn.Conn with frames in place of packets: one whole Ethernet II
// frame, without preamble and checksum, per Read and per Write. [Stream] and
// [Datagram] make those of qemu, [OpenTap] that of Linux; a switch of many ports is
// none of our business.
//
// # What the guests get
//
// Who asks for one of the gateway's addresses by ARP or neighbour solicitation is told
// the gateway's MAC; with Config.Proxy so is who asks for an address of another network.
// DHCP gives IPv4 addresses, router advertisements give a prefix for IPv6 ones (SLAAC);
// both tell the gateway, the MTU, and who answers DNS. An address of IPv4 is given by
// MAC, whatever the client identifier, and the same one again as long as nobody else
// needs it.
//
// # What is believed
//
// Where a guest is, is learned from its frames. An address is of the MAC that came with
// it until nothing has come from there for Config.NeighbourAge, or, if DHCP gave it, the
// lease has ended: packets and claims of anybody else are dropped and counted. So are those
// from the gateway's own addresses, which are defended (RFC 5227), from addresses outside of
// Config.Addrs, and router advertisements and redirects. What forges MACs can still fill the
// pool and the table, which are bounded and counted: guests that must not harm each other
// need a segment each.
//
// A packet to a guest that was not heard of is kept, one for each of 64 addresses, while
// the segment is asked where it is.
//
// # What passes
//
// IPv4 and IPv6 packets of the right length to the gateway's MAC, and those to multicast
// and broadcast addresses, which a Stack judges for itself; padding is cut off. ARP,
// neighbour and router discovery and DHCP are answered here and do not pass. Frames with a
// VLAN tag, of IEEE 802.2 and of other ethertypes are dropped and counted by kind.
package ether

// Package raw holds the raw IP conns of a stack: net.PacketConns that receive what
// comes to its own addresses in one IP protocol, and send it.
//
// A datagram is what follows the IP header (and IPv6 extension headers), whole: the
// stack has reassembled it. Every conn of a protocol gets a copy.
package raw

// Package packet reads and builds IP packets: IPv4 and IPv6, TCP, UDP and ICMP.
// It holds no policy and no state; what to do with a packet is decided above.
//
// Reading is hostile territory. [Packet.Decode] checks every length before it is
// used, allocates nothing, and names what is wrong by a [drop.Cause]. Building is
// append-like: each Append function adds one whole IP packet with all checksums
// right to a slice of the caller's, and adds nothing when there is no such packet.
package packet

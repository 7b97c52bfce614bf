// Package l3conntest checks a packet conn against the contract of package
// l3conn, as nettest does for net.Conn.
//
//	func TestMyConn(t *testing.T) {
//		l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
//			...
//		})
//	}
//
// a and b are the two ends of one link: what is written to a is read from b,
// and the other way round. Either may be of another kind: for a conn that
// carries packets to somewhere else, b is what the test has at that place.
//
// The subtests, each on a fresh pair, each in both directions:
//
//	Whole              packets of every size class from a bare IP header to the MTU, bytes unchanged
//	Order              packets of one writer come in order
//	ConcurrentWriters  several writers at once: every packet whole, each writer's in order
//	Buffers            no buffer is kept or changed: written ones are overwritten at once,
//	                   read ones looked at later
//	ShortBuffer        io.ErrShortBuffer, no part of the packet, the next packet is whole
//	TooLong            one byte more than the MTU: carried whole, or EMSGSIZE; the conn lives on
//	MTU                positive
//	ReadDeadline       ends a blocked Read, may be moved while it blocks, and the conn lives on
//	WriteDeadline      ends a blocked Write, and the conn lives on
//	Close              ends a blocked Read, can be repeated, and leaves the conn closed
//	BatchRead          never more than BatchSize, short buffers, and the same ends as Read
//	BatchWrite         any number of packets, in order
//	Segment...         some of these with offload enabled, packet by packet
//	Leak               after stop the goroutines are as many as before
//
// Abilities are asked of l3conn.Probe; a subtest for one that neither end has
// does not run. The link may lose packets when it overflows, as IP does, so the
// suite keeps at most [InFlight] packets under way; those it must not lose. It
// may count down the TTL, as a router does, and may carry packets of its own,
// which the suite tells by their addresses.
package l3conntest

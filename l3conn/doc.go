// Package l3conn says what carries IP packets: the contract of a [Conn], the
// optional interfaces that make one faster or easier to stop, the one probe
// that finds them, and an in-memory pair.
//
// # The contract
//
// A Conn is any io.ReadWriter that carries one whole IP packet per call: IPv4
// or IPv6, starting at the version nibble, no link header in front of it.
//
// Read waits for a packet and puts it into the caller's buffer. Write takes one
// packet; whether it waits for room is the conn's choice, see [DirectWriter].
// These are the outcomes, one each:
//
//	Read   (n>0, nil)            one whole packet
//	Read   (0, nil)              nothing came; the caller asks again. A conn that says so
//	                             100 times in a row is broken: io.ErrNoProgress
//	Read   ErrShortBuffer        the packet was longer than the buffer; it is lost, the next
//	                             Read gives the next packet
//	Read   EAGAIN, EINTR         as (0, nil)
//	Read   io.EOF                the other end is gone in good order; no packet will follow
//	Read   os.ErrDeadlineExceeded  the deadline set by the caller passed; the conn lives on
//	Write  (len(p), nil)         the packet is on its way; as always with IP, it may get lost
//	Write  ErrNoBuffers, EAGAIN  no room now: the packet is lost, the conn lives on
//	Write  ErrTooLong            longer than the conn carries: lost, the conn lives on
//	Write  ErrDown               the link is down for now: lost, the conn lives on
//	both   net.ErrClosed         this end was closed
//	both   any other error       the conn is broken for good
//
// [Transient] tells the errors that a conn survives from those that end it. A
// Read that returns n > 0 together with an error has delivered a packet; the
// error counts afterwards. Read never returns part of a packet, and a Write of
// no bytes carries nothing.
//
// # Buffers
//
// All memory belongs to the caller. Read, Write and their batch forms keep no
// slice, neither the bytes nor the slice of slices, once they have returned, and
// Write does not change what it was given. A reader offers room for MTU() bytes,
// for 65535 bytes where the MTU is unknown.
//
// # Concurrency
//
// One goroutine reads at a time (Read, ReadBatch and ReadSegments count as one).
// Any number may write at once, also while a Read is blocked; packets of one
// goroutine stay in order. Close, the deadlines, MTU and BatchSize may be called
// from anywhere at any time. [Funcs] and other conns of your own must keep to
// this too; a Stack itself writes from one goroutine at a time unless the conn
// is a [DirectWriter].
//
// # Ending a blocked Read
//
// Whoever uses a Conn must be able to stop. A blocked Read is ended by
// SetReadDeadline where the conn has it and it returns nil: the conn stays open
// and its owner's. Otherwise by Close, which then takes the conn over, as an
// http.Server does with its listener. A conn with neither leaves its reader
// behind until a packet comes: implement one of them. A blocked Write is ended
// in the same way, by SetWriteDeadline or Close.
//
// # Optional interfaces
//
// [BatchReader], [BatchWriter], [Offloader], [MTUer], [ReadDeadliner],
// [WriteDeadliner], io.Closer and [DirectWriter] are found by [Probe], by type
// assertion. Nobody else asserts: a middleware has the methods of its own type
// but only the abilities of the conn below it, and says so through [Capper].
//
// # Segments
//
// An [Offloader] carries a [Segment] of up to 64 KiB where a plain conn carries
// packets of an MTU each: most of what bulk transfer costs is per packet.
// [SegmentPipe] is one in memory, [Cutter] makes packets of segments.
//
// Package l3conntest checks a conn of your own against all of this.
package l3conn

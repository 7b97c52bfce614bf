package framed

import "sync/atomic"

// Stats are the counters of a Conn since New.
type Stats struct {
	// PacketsIn and PacketsOut count packets, BytesIn and BytesOut their bytes. A
	// packet counts as out once a part of it was sent.
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
	// KeepalivesIn and KeepalivesOut count empty frames.
	KeepalivesIn, KeepalivesOut uint64
	// StreamReads and StreamWrites count calls of the stream that moved bytes, or
	// tried: with the packets they tell how well batches form.
	StreamReads, StreamWrites uint64
	// Short were read and longer than the caller's buffer; TooLong were to be written
	// and longer than the MTU, Runts shorter than Config.MinFrame. All are lost.
	Short, TooLong, Runts uint64
}

type counters struct {
	packetsIn, bytesIn, keepalivesIn, streamReads, short              atomic.Uint64
	_                                                                 [64]byte // who reads and who writes share no cache line
	packetsOut, bytesOut, keepalivesOut, streamWrites, tooLong, runts atomic.Uint64
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	n := &c.counters
	return Stats{
		PacketsIn: n.packetsIn.Load(), BytesIn: n.bytesIn.Load(),
		PacketsOut: n.packetsOut.Load(), BytesOut: n.bytesOut.Load(),
		KeepalivesIn: n.keepalivesIn.Load(), KeepalivesOut: n.keepalivesOut.Load(),
		StreamReads: n.streamReads.Load(), StreamWrites: n.streamWrites.Load(),
		Short: n.short.Load(), TooLong: n.tooLong.Load(), Runts: n.runts.Load(),
	}
}

func (n *counters) took(packets, bytes int) {
	n.packetsIn.Add(uint64(packets))
	n.bytesIn.Add(uint64(bytes))
}

func (n *counters) sent(packets, bytes int) {
	n.packetsOut.Add(uint64(packets))
	n.bytesOut.Add(uint64(bytes))
}

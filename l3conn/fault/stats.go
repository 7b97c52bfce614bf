package fault

// Stats are the counters of a Conn since New.
type Stats struct {
	In, Out Counts // of packets read, and of those written
}

// Counts are the counters of one direction, in packets. At every moment
//
//	Packets + Duplicated = Delivered + UnderWay + Dropped + Burst +
//	                       QueueFull + HoldFull + Refused + Short + Closed
//
// A direction without faults counts nothing.
type Counts struct {
	// Packets came to the link, after segments were cut.
	Packets uint64
	// Delivered were given to the reader, or taken by the conn below.
	Delivered uint64
	// UnderWay are those that are being held or written.
	UnderWay uint64

	// Dropped were lost because of Direction.Drop, Burst because of
	// Direction.Burst.
	Dropped, Burst uint64
	// QueueFull found no room in Direction.Queue, HoldFull none in Direction.Hold.
	QueueFull, HoldFull uint64
	// Refused were not taken by the conn below, or given up when it failed.
	Refused uint64
	// Short were longer than the reader's buffer.
	Short uint64
	// Closed were under way when the Conn was closed.
	Closed uint64

	// Duplicated counts second copies, Corrupted and Reordered the packets to
	// which that happened; they are among the above.
	Duplicated, Corrupted, Reordered uint64
}

// Stats returns the counters, each direction at one moment.
func (c *Conn) Stats() Stats {
	return Stats{In: c.in.snapshot(), Out: c.out.snapshot()}
}

func (l *line) snapshot() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

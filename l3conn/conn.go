package l3conn

import (
	"io"
	"time"
)

// Conn carries one whole IP packet per Read and per Write; the package comment
// is its contract.
type Conn interface {
	io.ReadWriter
}

// BatchReader is implemented by conns that give several packets per call.
type BatchReader interface {
	// BatchSize is the largest number of packets one ReadBatch returns, at
	// least 1 and the same for the life of the conn, so that buffers can be
	// laid out once.
	BatchSize() int
	// ReadBatch waits for a packet, then takes without waiting what else is
	// there: packet i goes into bufs[i], its length into sizes[i]. n packets
	// are valid also when err is not nil. len(sizes) must be at least
	// len(bufs); of a longer bufs only the first BatchSize are used. A packet
	// that does not fit its buffer gets size 0 and is lost; the others stay.
	// The outcomes are those of Read.
	ReadBatch(bufs [][]byte, sizes []int) (n int, err error)
}

// BatchWriter is implemented by conns that take several packets per call.
type BatchWriter interface {
	// WriteBatch writes pkts in order, any number of them, and returns how
	// many were written. n < len(pkts) comes with the error of packet n, and
	// the outcomes are those of Write: after an error that [Transient] reports
	// the caller may go on with packet n+1.
	WriteBatch(pkts [][]byte) (n int, err error)
}

// MTUer is implemented by conns that know the size of the largest packet, in
// bytes with IP header, that they carry. It may change; it is positive.
type MTUer interface {
	MTU() int
}

// ReadDeadliner is implemented by conns whose blocked Read can be ended while
// the conn stays open. The rules are those of net.Conn: a deadline in the past
// ends a Read that is already blocked, the zero time means none. A conn that
// returns an error (os.ErrNoDeadline) counts as not having the ability.
type ReadDeadliner interface {
	SetReadDeadline(t time.Time) error
}

// WriteDeadliner is [ReadDeadliner] for Write.
type WriteDeadliner interface {
	SetWriteDeadline(t time.Time) error
}

// DirectWriter marks conns whose Write never waits for room and never calls
// back into its caller: it returns [ErrNoBuffers] or EAGAIN instead, as a TUN
// does. Such a conn is written in place, by several goroutines at once; any
// other one gets a queue and a goroutine.
type DirectWriter interface {
	DirectWrite()
}

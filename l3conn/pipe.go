package l3conn

import "time"

// Defaults of Pipe.
const (
	// DefaultPipePackets is the number of packets a Pipe holds each way.
	DefaultPipePackets = 256
	// DefaultMTU is the MTU of conns that are not told another, in bytes.
	DefaultMTU = 1500
)

// PipeEnd is one end of a Pipe. All methods may be called by any number of
// goroutines at once. It is not a [DirectWriter]: Write waits while the other
// end's queue is full.
type PipeEnd struct {
	in, out *queue
	mtu     int
}

// Pipe returns the two ends of an in-memory link. Each holds up to packets
// packets that the other end wrote (0: DefaultPipePackets) of up to mtu bytes
// (0: DefaultMTU). What one end has written before its Close can still be read
// by the other, then Read gives io.EOF and Write syscall.EPIPE.
func Pipe(packets, mtu int) (*PipeEnd, *PipeEnd) {
	if packets <= 0 {
		packets = DefaultPipePackets
	}
	if mtu <= 0 {
		mtu = DefaultMTU
	}
	x, y := newQueue(packets), newQueue(packets)
	return &PipeEnd{x, y, mtu}, &PipeEnd{y, x, mtu}
}

// BatchPipeEnd is one end of a BatchPipe: a PipeEnd that is a [BatchReader] and
// [BatchWriter] too.
type BatchPipeEnd struct {
	*PipeEnd
	size int
}

// BatchPipe returns a Pipe whose ends read and write batches of up to size
// packets (0: as many as the pipe holds).
func BatchPipe(packets, mtu, size int) (*BatchPipeEnd, *BatchPipeEnd) {
	a, b := Pipe(packets, mtu)
	if size <= 0 {
		size = len(a.in.slots)
	}
	return &BatchPipeEnd{a, size}, &BatchPipeEnd{b, size}
}

// Read waits for a packet from the other end.
func (p *PipeEnd) Read(b []byte) (int, error) {
	q := p.in
	q.rmu.Lock()
	defer q.rmu.Unlock()
	if err := q.waitRead(); err != nil {
		return 0, err
	}
	n := q.pop(b)
	q.wakeWriter()
	if n < 0 {
		return 0, ErrShortBuffer
	}
	return n, nil
}

// Write copies b into the other end's queue and waits while that is full.
func (p *PipeEnd) Write(b []byte) (int, error) {
	switch {
	case len(b) == 0:
		return 0, nil
	case len(b) > p.mtu:
		return 0, ErrTooLong
	}
	q := p.out
	q.wmu.Lock()
	defer q.wmu.Unlock()
	if err := q.waitWrite(); err != nil {
		return 0, err
	}
	q.push(b)
	q.wakeReader()
	return len(b), nil
}

// BatchSize implements [BatchReader].
func (p *BatchPipeEnd) BatchSize() int { return p.size }

// ReadBatch implements [BatchReader].
func (p *BatchPipeEnd) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	bufs = bufs[:min(len(bufs), p.size)]
	if len(bufs) == 0 {
		return 0, nil
	}
	q := p.in
	q.rmu.Lock()
	defer q.rmu.Unlock()
	if err := q.waitRead(); err != nil {
		return 0, err
	}
	n := min(len(bufs), q.used())
	for i := range n {
		sizes[i] = max(0, q.pop(bufs[i]))
	}
	q.wakeWriter()
	return n, nil
}

// WriteBatch implements [BatchWriter]; it waits for room as often as needed.
func (p *BatchPipeEnd) WriteBatch(pkts [][]byte) (int, error) {
	q := p.out
	q.wmu.Lock()
	defer q.wmu.Unlock()
	defer q.wakeReader() // one wake-up for all
	for i, b := range pkts {
		if len(b) > p.mtu {
			return i, ErrTooLong
		}
		if err := q.waitWrite(); err != nil {
			return i, err
		}
		q.push(b)
	}
	return len(pkts), nil
}

// MTU implements [MTUer]; it never changes.
func (p *PipeEnd) MTU() int { return p.mtu }

// SetReadDeadline implements [ReadDeadliner]; it never fails.
func (p *PipeEnd) SetReadDeadline(t time.Time) error {
	p.in.setDeadline(&p.in.readDeadline, readLate, t)
	return nil
}

// SetWriteDeadline implements [WriteDeadliner]; it never fails.
func (p *PipeEnd) SetWriteDeadline(t time.Time) error {
	p.out.setDeadline(&p.out.writeDeadline, writeLate, t)
	return nil
}

// SetDeadline sets both deadlines.
func (p *PipeEnd) SetDeadline(t time.Time) error {
	_ = p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}

// Close ends this end's Reads and Writes with net.ErrClosed, also those that
// are blocked, and drops what it has not read. It may be called again and
// always returns nil.
func (p *PipeEnd) Close() error {
	p.in.closeRead()
	p.out.closeWrite()
	return nil
}

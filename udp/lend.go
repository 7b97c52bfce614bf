package udp

import "l3extract/internal/drop"

// BatchSize is how many datagrams a [Batch] holds.
const BatchSize = 64

// Batch holds datagrams that a Socket lends: their payloads are read where they
// lie, for one who passes them on at once. The zero Batch is empty; one goroutine
// uses it at a time.
type Batch struct {
	// Messages are the datagrams, as ReadBatch would give them; their Buffers are
	// lent and must not be changed.
	Messages [BatchSize]Message

	s    *Socket
	lent [BatchSize]*datagram
	n    int
}

// Lend fills b, which is empty, with the datagrams that are there, up to BatchSize,
// and returns how many: 0 and nil if there is none, since it never waits. They still
// count for [Config].TotalQueueBytes and the stack's memory, but no longer for the limits
// of the Socket's own queue, which holds what comes meanwhile. Errors are those of [Socket.ReadMsg], deadlines among them.
func (s *Socket) Lend(b *Batch) (int, error) {
	s.mu.Lock()
	err := s.readError()
	var d *datagram
	if err == nil {
		d, b.n = s.queue.popRun(BatchSize)
	}
	s.mu.Unlock()
	if err != nil {
		return 0, s.opError(opRead, nil, err)
	}
	b.s = s
	for i := range b.n {
		b.lent[i] = d
		b.Messages[i] = Message{
			Buffer: d.payload(), N: d.n, Size: d.n, Source: d.src, Destination: d.dst, HopLimit: d.hops,
		}
		d, d.next = d.next, nil
	}
	return b.n, nil
}

// Return gives back what b holds, and empties it. The first done datagrams are
// done with; the others are the next that the Socket gives, even if its queue has filled
// meanwhile, unless it has ended: then they are dropped and counted.
func (b *Batch) Return(done int) {
	s := b.s
	cost := 0
	for i, d := range b.lent[:done] {
		cost += d.cost()
		d.free()
		b.lent[i] = nil
	}
	if cost > 0 {
		s.t.memory.give(cost)
	}
	if left := b.lent[done:b.n]; len(left) > 0 {
		s.mu.Lock()
		ended := s.ended != nil
		if !ended {
			s.queue.unpop(left)
		}
		s.mu.Unlock()
		for i, d := range left {
			if ended {
				s.lose(drop.UDPClosed)
				s.release(d)
			}
			left[i] = nil
		}
	}
	clear(b.Messages[:b.n])
	b.s, b.n = nil, 0
}

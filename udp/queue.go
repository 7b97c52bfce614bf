package udp

import (
	"sync/atomic"

	"l3extract/internal/budget"
)

// memory accounts for the queues of all Sockets of a table.
type memory struct {
	limit  int64 // of used; negative is none
	used   atomic.Int64
	budget *budget.Budget // of the whole stack; nil is unlimited
}

// take claims n bytes, or none.
func (m *memory) take(n int) bool {
	if used := m.used.Add(int64(n)); m.limit >= 0 && used > m.limit {
		m.used.Add(int64(-n))
		return false
	}
	if m.budget != nil && !m.budget.Take(budget.Datagram, int64(n)) {
		m.used.Add(int64(-n))
		return false
	}
	return true
}

// hold counts what a Socket costs by itself, and drop takes it back.
func (m *memory) hold(n int64) {
	if m.budget != nil {
		m.budget.Hold(budget.Flow, n)
	}
}

func (m *memory) drop(n int64) {
	if m.budget != nil {
		m.budget.Give(budget.Flow, n)
	}
}

// now is the budget's time.
func (m *memory) now() int64 {
	if m.budget == nil {
		return 0
	}
	return m.budget.Now()
}

// give returns n bytes.
func (m *memory) give(n int) {
	m.used.Add(int64(-n))
	if m.budget != nil {
		m.budget.Give(budget.Datagram, int64(n))
	}
}

// queue holds the datagrams that a Socket has received and nobody has read.
// A datagram that finds it full is dropped and counted by the caller: whoever
// sends it is on the goroutine that reads the conn, which never waits.
type queue struct {
	head, tail *datagram
	count      int
	bytes      int // sum of the datagrams' cost

	maxCount int // negative: unlimited
	maxBytes int // negative: unlimited
}

// full tells whether cost more bytes have no room. An empty queue has room for
// any one datagram, or a small limit would shut out large ones for ever.
func (q *queue) full(cost int) bool {
	if q.count == 0 {
		return false
	}
	return reached(q.count, q.maxCount) || q.maxBytes >= 0 && q.bytes+cost > q.maxBytes
}

func (q *queue) push(d *datagram) {
	if q.tail == nil {
		q.head = d
	} else {
		q.tail.next = d
	}
	q.tail = d
	q.count++
	q.bytes += d.cost()
}

// pop returns the oldest datagram, or nil.
func (q *queue) pop() *datagram {
	d := q.head
	if d == nil {
		return nil
	}
	if q.head = d.next; q.head == nil {
		q.tail = nil
	}
	d.next = nil
	q.count--
	q.bytes -= d.cost()
	return d
}

// popRun takes up to limit datagrams, one linked to the next, and returns the first
// and how many there are.
func (q *queue) popRun(limit int) (*datagram, int) {
	first, n := q.head, 0
	var last *datagram
	for d := first; d != nil && n < limit; d = d.next {
		last = d
		n++
		q.bytes -= d.cost()
	}
	if last == nil {
		return nil, 0
	}
	if q.head = last.next; q.head == nil {
		q.tail = nil
	}
	last.next = nil
	q.count -= n
	return first, n
}

// unpop puts datagrams that were taken back in front of the others. They have had
// their room already.
func (q *queue) unpop(ds []*datagram) {
	for i := len(ds) - 1; i >= 0; i-- {
		d := ds[i]
		if d.next = q.head; q.head == nil {
			q.tail = d
		}
		q.head = d
		q.count++
		q.bytes += d.cost()
	}
}

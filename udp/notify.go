package udp

import "l3extract/internal/flow"

// batch is what the goroutine that reads the conn does at the end of the packets
// that it has at hand, and the time that it read at their beginning: a look at the
// clock costs a quarter of what a datagram does.
type batch struct {
	open bool
	now  int64
	due  []flow.Notifier // of Sockets that have become readable
}

// later notes n for the end of the batch, if one is open.
func (b *batch) later(n flow.Notifier) bool {
	if b == nil || !b.open {
		return false
	}
	b.due = append(b.due, n)
	return true
}

// BeginBatch says that several packets come to HandlePacket, up to EndBatch. It is
// for the goroutine that reads the conn.
func (t *Table) BeginBatch() { t.batch.open, t.batch.now = true, t.now() }

// EndBatch ends a batch: those who are notified see its datagrams together.
func (t *Table) EndBatch() {
	b := &t.batch
	b.open = false
	for i, n := range b.due {
		n.Notify(flow.Event{})
		b.due[i] = nil
	}
	b.due = b.due[:0]
}

// SetNotifier has n called when the Socket becomes readable, that is for the first
// datagram that waits and not for those behind it, when there is an error to be
// read, and at the Socket's end; and at once, if any of this has come already. A
// Socket with a Notifier needs no goroutine. It is for packages of this module;
// nil ends it.
func (s *Socket) SetNotifier(n flow.Notifier) {
	s.mu.Lock()
	s.notifier = n
	due := n != nil && (s.ended != nil || s.pending != nil || s.queue.count > 0)
	s.mu.Unlock()
	if due {
		n.Notify(flow.Event{})
	}
}

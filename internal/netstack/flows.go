package netstack

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"l3extract/internal/budget"
)

// tuple names a TCP connection from our side.
type tuple struct{ local, remote netip.AddrPort }

// flowSeq holds the sequence numbers that the engine does not tell: where our
// side began, and what the peer has acknowledged. The filter for ICMP errors
// (RFC 5927) and the count of undelivered bytes need them, and so does the account of
// memory.
type flowSeq struct {
	iss atomic.Uint32 // our initial sequence number
	una atomic.Uint32 // highest acknowledgement seen; iss+1 at first
	out atomic.Uint64 // bytes that the engine accepted for sending
	// ahead is an acknowledgement of more than out says; 0: none. The count of a Write
	// follows its bytes.
	ahead atomic.Uint32
	// shut is the acknowledgement of our last segment, with shutFlag, if its window was 0.
	shut atomic.Uint64
	ack  ackState
	held held
}

// started keeps the sequence number of our SYN or SYN-ACK.
func (f *flowSeq) started(iss uint32) {
	f.iss.Store(iss)
	f.una.Store(iss)
}

// acked moves una forward to ack; older and absurd numbers change nothing. One that is
// ahead of what is known to be sent counts as soon as it is known, and not before: what
// is believed to be acknowledged is room for more.
func (f *flowSeq) acked(ack uint32) {
	for {
		una := f.una.Load()
		switch d := ack - una; {
		case d == 0 || d > maxBuffer+1:
			return
		case d > f.unackedFrom(una)+1: // a FIN, which out does not count
			f.ahead.Store(ack)
			if d > f.unackedFrom(una)+1 { // still: wrote, or the next one, will tell
				return
			}
		}
		if f.una.CompareAndSwap(una, ack) {
			f.giveSent()
			return
		}
	}
}

// wrote counts n bytes that the engine has accepted.
func (f *flowSeq) wrote(n int) {
	f.holdSent(n)
	if ack := f.ahead.Swap(0); ack != 0 {
		f.acked(ack)
	}
}

// unacked returns how many sequence numbers are queued or in flight, with SYN
// and FIN counted at most once each.
func (f *flowSeq) unacked() uint32 { return f.unackedFrom(f.una.Load()) }

func (f *flowSeq) unackedFrom(una uint32) uint32 {
	end := f.iss.Load() + 1 + uint32(f.out.Load())
	if d := int32(end - una); d > 0 {
		return uint32(d)
	}
	return 0
}

// sent reports whether a segment that begins at seq can be in flight.
func (f *flowSeq) sent(seq uint32) bool {
	return seq-f.una.Load() <= f.unacked()
}

const flowShards = 16 // the reader, dials and closers seldom meet on one

// flowTable finds the flowSeq of a connection.
type flowTable struct {
	budget *budget.Budget
	shards [flowShards]struct {
		mu sync.RWMutex
		m  map[tuple]*flowSeq
	}
}

func newFlowTable(b *budget.Budget) *flowTable {
	t := &flowTable{budget: b}
	for i := range t.shards {
		t.shards[i].m = make(map[tuple]*flowSeq)
	}
	return t
}

// shard needs no strong hash: the ports alone spread the flows of any client.
func (t *flowTable) shard(id tuple) int {
	return int((id.local.Port() ^ id.remote.Port() ^ id.remote.Port()>>4) % flowShards)
}

func (t *flowTable) get(id tuple) *flowSeq {
	s := &t.shards[t.shard(id)]
	s.mu.RLock()
	f := s.m[id]
	s.mu.RUnlock()
	return f
}

// start returns the entry of the connection that began at iss, and whose peer's first
// byte is next, if that is known. A later connection
// of the same name gets one of its own: the endpoint of the earlier one may still
// be held by somebody.
func (t *flowTable) start(id tuple, iss, next uint32) *flowSeq {
	s := &t.shards[t.shard(id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.m[id]
	if f == nil || f.iss.Load() != iss {
		f.release()
		f = new(flowSeq)
		f.held.budget = t.budget
		f.held.moved.Store(t.budget.Now())
		if next != 0 {
			f.held.begin(next)
		}
		f.started(iss)
		s.m[id] = f
	}
	return f
}

// remove takes f, which may be nil, out, unless its place was taken by a later
// connection.
func (t *flowTable) remove(id tuple, f *flowSeq) {
	if f == nil {
		return
	}
	s := &t.shards[t.shard(id)]
	s.mu.Lock()
	if s.m[id] == f {
		delete(s.m, id)
	}
	s.mu.Unlock()
	f.release()
}

// release gives back what f, which may be nil, holds.
func (f *flowSeq) release() {
	if f != nil {
		f.held.release()
	}
}

// clear forgets everything.
func (t *flowTable) clear() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, f := range s.m {
			f.release()
		}
		clear(s.m)
		s.mu.Unlock()
	}
}

func (t *flowTable) len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}

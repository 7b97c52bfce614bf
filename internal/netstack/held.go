package netstack

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"l3extract/internal/budget"
	"l3extract/internal/packet"
)

// segmentCost is what the engine needs for a segment beside its bytes: its segment and
// packet buffer, and our share of allocation. Many small ones cost mostly this.
const segmentCost = 768

// chunkCost returns the memory that n bytes of one segment take: the engine's chunks
// are powers of two.
func chunkCost(n int) int64 {
	if n <= 64 {
		return 64
	}
	return int64(1) << bits.Len(uint(n-1))
}

// writeCost returns the memory that a Write of n bytes takes in the engine.
func writeCost(n int) (cost int64) {
	for ; n > 0; n -= maxChunk {
		cost += chunkCost(min(n, maxChunk)) + segmentCost
	}
	return cost
}

// maxChunk is the engine's largest.
const maxChunk = 64 << 10

// held is the memory that a connection has in the engine, which does not tell: what was
// given to it and has not come out again. It errs on the side of more.
type held struct {
	budget *budget.Budget
	moved  atomic.Int64 // when something came out last, by the budget's time

	mu    sync.Mutex // a leaf
	begun bool       // next and end are known
	over  bool       // the connection has ended, and nothing counts any more

	sent    uint32 // bytes that are not acknowledged
	sending int64  // their memory

	// Received bytes that were not read lie between next and end; more than these if
	// there is a gap, and something beyond it.
	next, end uint32
	gap       bool
	unread    int64 // their memory
}

// begin is told of the sequence number of the first byte that the peer will send.
func (h *held) begin(seq uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.begun {
		h.begun, h.next, h.end = true, seq, seq
	}
}

// received counts a segment that is being given to the engine.
func (h *held) received(seq uint32, n int, cost int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := seq + uint32(n)
	switch {
	case h.over, !h.begun, int32(end-h.next) <= 0, int32(end-h.next) > maxBuffer:
		return // read already, or beyond any window: the engine does not keep it
	case int32(end-h.end) <= 0 && !h.gap:
		return // again
	case int32(seq-h.end) > 0:
		h.gap = true
	}
	if int32(end-h.end) > 0 {
		h.end = end
	}
	h.unread += cost
	h.budget.Hold(budget.Receive, cost)
}

// read counts n bytes that were taken out of the engine.
func (h *held) read(n int) {
	h.moved.Store(h.budget.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.end - h.next
	h.next += uint32(n)
	left := int32(h.end - h.next)
	if left <= 0 {
		h.end, h.gap = h.next, false
		h.unreadIs(0)
		return
	}
	h.unreadIs(h.unread / int64(was) * int64(left))
}

// unreadIs corrects what is unread. The caller holds mu.
func (h *held) unreadIs(cost int64) {
	if less := h.unread - cost; !h.over && less > 0 {
		h.unread = cost
		h.budget.Give(budget.Receive, less)
	}
}

// holdSent counts n bytes that the engine has taken, in out too.
func (f *flowSeq) holdSent(n int) {
	cost := writeCost(n)
	h := &f.held
	h.mu.Lock()
	defer h.mu.Unlock()
	f.out.Add(uint64(n))
	if h.over || n == 0 {
		return
	}
	h.sent = f.unacked()
	h.sending += cost
	h.budget.Hold(budget.Send, cost)
}

// giveSent gives back what has been acknowledged since.
func (f *flowSeq) giveSent() {
	h := &f.held
	h.moved.Store(h.budget.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	unacked, left := f.unacked(), int64(0)
	switch {
	case h.over || h.sending == 0 || unacked >= h.sent && unacked > 1:
		return
	case unacked > 1: // else it is a SYN or a FIN
		left = h.sending * int64(unacked) / int64(h.sent)
	}
	h.sent = unacked
	h.budget.Give(budget.Send, h.sending-left)
	h.sending = left
}

// release gives everything back, for good.
func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	h.over = true
	h.budget.Give(budget.Send, h.sending)
	h.budget.Give(budget.Receive, h.unread)
	h.sending, h.unread = 0, 0
}

// bytes returns what is held.
func (h *held) bytes() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sending + h.unread
}

// Held returns the memory that the engine keeps for the connection's data, in bytes, and
// when some of it was last read or acknowledged, by the time of Config.Budget.
func (e *Endpoint) Held() (bytes, moved int64) {
	if e.flow == nil {
		return 0, 0
	}
	return e.flow.held.bytes(), e.flow.held.moved.Load()
}

// taken counts n bytes that were read or discarded.
func (e *Endpoint) taken(n int) {
	if n > 0 && e.flow != nil {
		e.flow.held.read(n)
	}
}

// arrived accounts for a segment of n bytes of payload, in memory of size bytes, that is
// to be delivered. It reports false if there is no memory for it: then it was lost on
// the way, and comes again.
func (e *Engine) arrived(p *packet.Packet, n, size int) bool {
	if n > 0 && e.cfg.Budget.Over() {
		e.noMemory.Add(1)
		return false
	}
	if p.Flags&(packet.ACK|packet.RST) == 0 {
		return true
	}
	f := e.flows.get(tuple{p.DstAddrPort(), p.SrcAddrPort()})
	if f == nil {
		return true
	}
	if !f.letIn(p) || p.Flags&packet.ACK == 0 {
		return true
	}
	f.acked(p.Ack)
	switch {
	case p.Flags&packet.SYN != 0:
		f.held.begin(p.Seq + 1)
	case n > 0:
		f.held.received(p.Seq, n, chunkCost(size)+segmentCost)
	}
	return true
}

// NoMemory returns how many segments were dropped because there was no memory.
func (e *Engine) NoMemory() uint64 { return e.noMemory.Load() }

// NoMemory is Engine.NoMemory of all engines.
func (s *Shards) NoMemory() uint64 { return s.sum((*Engine).NoMemory) }

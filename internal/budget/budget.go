package budget

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Kind says what memory is held for.
type Kind uint8

// The kinds.
const (
	Receive     Kind = iota // segments that streams have received and nobody has read
	Send                    // what streams have sent and their peers have not acknowledged
	WriteBuffer             // write buffers of streams, and what copies hold while they wait to write
	Datagram                // queues of sockets
	Reassembly              // fragments waiting for the others
	Flow                    // flows by themselves
	kinds
)

var kindNames = [kinds]string{"receive", "send", "write_buffer", "datagram", "reassembly", "flow"}

// String returns the kind's name as it stands in statistics.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// What a stream starts with in each direction, in bytes.
const (
	StartSize      = 64 << 10 // below 80 % of the limit
	SmallStartSize = 8 << 10  // from there on
)

// What a flow that does nothing costs, in bytes: as measured with 10 000 of them behind
// adapters/forward, and with what the garbage collector leaves of their handshakes.
const (
	StreamCost = 8 << 10
	SocketCost = 2 << 10
)

// Budget is the memory of one stack. All methods may be called at once; none
// waits.
type Budget struct {
	limit    int64 // 0: none
	used     atomic.Int64
	by       [kinds]atomic.Int64
	promised atomic.Int64
	refused  atomic.Uint64
	now      atomic.Int64

	evicted, evictedBytes atomic.Uint64

	full chan struct{} // holds one note that the limit was reached

	wanted atomic.Bool // somebody waits for room
	mu     sync.Mutex  // a leaf
	room   chan struct{}
}

// New returns a budget of limit bytes; zero or less is no limit.
func New(limit int64) *Budget { return &Budget{limit: max(limit, 0), full: make(chan struct{}, 1)} }

// soft is where growing ends: 80 % of the limit.
func (b *Budget) soft() int64 { return b.limit - b.limit/5 }

// Take takes n bytes for something that is needed now. It returns false, takes
// nothing and counts a refusal beyond the limit.
func (b *Budget) Take(k Kind, n int64) bool {
	if b.take(k, n, b.limit) {
		return true
	}
	b.refused.Add(1)
	b.press()
	return false
}

// Grow is Take for what can be done without: it returns false, takes nothing and
// counts nothing beyond 80 % of the limit.
func (b *Budget) Grow(k Kind, n int64) bool { return b.take(k, n, b.soft()) }

func (b *Budget) take(k Kind, n, limit int64) bool {
	if used := b.used.Add(n); b.limit > 0 && used > limit && n > 0 {
		b.used.Add(-n)
		return false
	}
	b.by[k].Add(n)
	return true
}

// Hold counts n bytes that are there already, whatever the limit is.
func (b *Budget) Hold(k Kind, n int64) {
	b.by[k].Add(n)
	if used := b.used.Add(n); b.limit > 0 && used >= b.limit {
		b.press()
	}
}

// Give returns n bytes.
func (b *Budget) Give(k Kind, n int64) {
	b.by[k].Add(-n)
	if used := b.used.Add(-n); used < b.limit && b.wanted.Load() {
		b.makeRoom()
	}
}

// Start returns how large the buffers of a new stream are to be, for each direction.
// At the limit ok is false, which counts as a refusal: one that nobody has begun to serve
// should not be. Nothing is taken: what comes to be in them is.
func (b *Budget) Start() (perDirection int, ok bool) {
	switch used := b.used.Load(); {
	case b.limit == 0 || used < b.soft():
		return StartSize, true
	case used < b.limit:
		return SmallStartSize, true
	}
	b.refused.Add(1)
	b.press()
	return SmallStartSize, false
}

// Promise lets a buffer grow from one size to another, which costs what of it lies
// beyond StartSize. It returns false, and promises nothing, beyond 80 % of the limit,
// of what is held as of what is promised. Withdraw is its counterpart.
func (b *Budget) Promise(from, to int) bool {
	return b.promise(from, to, b.soft())
}

// Demand is Promise up to the limit itself. It counts a refusal.
func (b *Budget) Demand(from, to int) bool {
	if b.promise(from, to, b.limit) {
		return true
	}
	b.refused.Add(1)
	return false
}

func (b *Budget) promise(from, to int, limit int64) bool {
	n := beyond(to) - beyond(from)
	if all := b.promised.Add(n); b.limit > 0 && (all > limit || b.used.Load() >= limit) {
		b.promised.Add(-n)
		return false
	}
	return true
}

// Withdraw takes back what was promised to a buffer that becomes smaller, or goes.
func (b *Budget) Withdraw(from, to int) { b.promised.Add(beyond(to) - beyond(from)) }

// beyond is the part of a buffer that is promised.
func beyond(size int) int64 { return int64(max(size-StartSize, 0)) }

// Over reports whether so much more than the limit is held that what comes in must be
// dropped: an eighth, which is what may come in while flows are being ended.
func (b *Budget) Over() bool {
	return b.limit > 0 && b.used.Load() >= b.limit+b.limit/8
}

// Congested reports whether the limit is reached. Then the channel is closed once it is
// not any more.
func (b *Budget) Congested() (<-chan struct{}, bool) {
	if b.limit == 0 || b.used.Load() < b.limit {
		return nil, false
	}
	b.mu.Lock()
	if b.room == nil {
		b.room = make(chan struct{})
	}
	room := b.room
	b.wanted.Store(true)
	b.mu.Unlock()
	if b.used.Load() < b.limit { // by somebody who did not know yet
		b.makeRoom()
		return nil, false
	}
	b.press()
	return room, true
}

func (b *Budget) makeRoom() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room != nil && b.used.Load() < b.limit {
		close(b.room)
		b.room = nil
		b.wanted.Store(false)
	}
}

// press notes that the limit is reached.
func (b *Budget) press() {
	select {
	case b.full <- struct{}{}:
	default:
	}
}

// Full receives a note each time that the limit was reached, for the one who can end
// flows. Notes that he has not taken yet are one.
func (b *Budget) Full() <-chan struct{} { return b.full }

// Excess returns how many bytes are to be freed because the limit is reached: down to
// 90 % of it, so that one look at all flows frees a good part. 0 is none.
func (b *Budget) Excess() int64 {
	used := b.used.Load()
	if b.limit == 0 || used < b.limit {
		return 0
	}
	return used - (b.limit - b.limit/10)
}

// Evict counts a flow that was ended for its n bytes.
func (b *Budget) Evict(n int64) {
	b.evicted.Add(1)
	b.evictedBytes.Add(uint64(n))
}

// Tick sets the time that Now returns, in nanoseconds from an arbitrary beginning: a
// time that costs nothing to ask for. Who reads packets sets it.
func (b *Budget) Tick(now int64) { b.now.Store(now) }

// Now returns the time of the last Tick.
func (b *Budget) Now() int64 { return b.now.Load() }

// Usage is the state of a Budget at one moment, in bytes.
type Usage struct {
	Limit    int64  // 0: none
	Used     int64  // held, the sum of the kinds
	Promised int64  // buffers grown beyond the size that streams begin with
	Refused  uint64 // how often something needed was not granted

	Evicted      uint64 // flows that were ended because the limit was reached
	EvictedBytes uint64 // what they held

	Receive, Send, WriteBuffer, Datagram, Reassembly, Flow int64
}

// Snapshot returns what is held now. Under traffic the parts may differ from
// the sum by what was being taken meanwhile.
func (b *Budget) Snapshot() Usage {
	return Usage{
		Limit: b.limit, Used: b.used.Load(), Promised: b.promised.Load(), Refused: b.refused.Load(),
		Evicted: b.evicted.Load(), EvictedBytes: b.evictedBytes.Load(),
		Receive: b.by[Receive].Load(), Send: b.by[Send].Load(),
		WriteBuffer: b.by[WriteBuffer].Load(), Datagram: b.by[Datagram].Load(),
		Reassembly: b.by[Reassembly].Load(), Flow: b.by[Flow].Load(),
	}
}

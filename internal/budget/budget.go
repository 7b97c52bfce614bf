package budget

import (
	"fmt"
	"sync/atomic"
)

// Kind says what granted memory is for.
type Kind uint8

// The kinds.
const (
	Receive     Kind = iota // receive buffers of streams
	Send                    // send buffers of streams
	WriteBuffer             // write buffers of streams, and what copies hold while they wait to write
	Datagram                // queues of sockets
	Reassembly              // fragments waiting for the others
	kinds
)

var kindNames = [kinds]string{"receive", "send", "write_buffer", "datagram", "reassembly"}

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

// Budget is the memory of one stack. All methods may be called at once; none
// waits.
type Budget struct {
	limit   int64 // 0: none
	used    atomic.Int64
	by      [kinds]atomic.Int64
	refused atomic.Uint64
}

// New returns a budget of limit bytes; zero or less is no limit.
func New(limit int64) *Budget { return &Budget{limit: max(limit, 0)} }

// soft is where growing ends: 80 % of the limit.
func (b *Budget) soft() int64 { return b.limit - b.limit/5 }

// Grow takes n bytes to make something larger. It returns false, and takes
// nothing, beyond 80 % of the limit.
func (b *Budget) Grow(k Kind, n int64) bool { return b.take(k, n, b.soft()) }

// Take takes n bytes for something that is needed now. It returns false, takes
// nothing and counts a refusal beyond the limit.
func (b *Budget) Take(k Kind, n int64) bool {
	if b.take(k, n, b.limit) {
		return true
	}
	b.refused.Add(1)
	return false
}

func (b *Budget) take(k Kind, n, limit int64) bool {
	if used := b.used.Add(n); b.limit > 0 && used > limit && n > 0 {
		b.used.Add(-n)
		return false
	}
	b.by[k].Add(n)
	return true
}

// Start takes the buffers of a new stream, perDirection bytes of Receive and as
// many of Send; whoever ends the stream gives back what it then holds. ok is
// false at the limit, and nothing was taken.
func (b *Budget) Start() (perDirection int, ok bool) {
	if b.Grow(Receive, StartSize) {
		if b.Grow(Send, StartSize) {
			return StartSize, true
		}
		b.Give(Receive, StartSize)
	}
	if b.Take(Receive, SmallStartSize) {
		if b.Take(Send, SmallStartSize) {
			return SmallStartSize, true
		}
		b.Give(Receive, SmallStartSize)
	}
	return 0, false
}

// Give returns n bytes.
func (b *Budget) Give(k Kind, n int64) {
	b.used.Add(-n)
	b.by[k].Add(-n)
}

// Move turns n granted bytes of one kind into as many of another.
func (b *Budget) Move(from, to Kind, n int64) {
	b.by[from].Add(-n)
	b.by[to].Add(n)
}

// Usage is the state of a Budget at one moment, in bytes.
type Usage struct {
	Limit   int64  // 0: none
	Used    int64  // sum of the kinds
	Refused uint64 // how often something needed was not granted

	Receive, Send, WriteBuffer, Datagram, Reassembly int64
}

// Snapshot returns what is granted now. Under traffic the parts may differ from
// the sum by what was being granted meanwhile.
func (b *Budget) Snapshot() Usage {
	return Usage{
		Limit: b.limit, Used: b.used.Load(), Refused: b.refused.Load(),
		Receive: b.by[Receive].Load(), Send: b.by[Send].Load(),
		WriteBuffer: b.by[WriteBuffer].Load(), Datagram: b.by[Datagram].Load(),
		Reassembly: b.by[Reassembly].Load(),
	}
}

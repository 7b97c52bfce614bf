package link

import (
	"io"
	"sync"

	"l3extract/l3conn"
)

// smallFrame holds every packet without payload. Frames are counted with all their
// memory, and one of the MTU's size for each acknowledgement would make that up to
// a thousand times what is in it.
const smallFrame = 192

// Frame is pooled memory for one packet. Whoever got it from Link.Frame fills it
// and gives it to Link.Send, which owns it from then on.
type Frame struct {
	b    []byte // whole capacity
	n    int    // bytes of the packet
	size int    // bytes that it counts for in the queue
	pool *sync.Pool
	next *Frame // in the queue
	cls  Class
	// seg says how to cut what is in b; zero for a packet. With an owner its Parts
	// are the bytes, which are the owner's, and b is empty.
	seg   l3conn.Segment
	owner Owner
}

// Bytes returns the room of the frame, at least as long as was asked for.
func (f *Frame) Bytes() []byte { return f.b }

// SetLen says how many bytes the packet has.
func (f *Frame) SetLen(n int) { f.n = n }

// Write implements io.Writer: it appends to the packet, within the frame's room.
func (f *Frame) Write(p []byte) (int, error) {
	n := copy(f.b[f.n:], p)
	f.n += n
	if n < len(p) {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

func (f *Frame) packet() []byte { return f.b[:f.n] }

func (f *Frame) free() {
	f.next = nil
	f.seg = l3conn.Segment{}
	if f.owner != nil {
		f.owner.Release()
		f.owner = nil
	}
	if f.pool != nil {
		f.pool.Put(f)
	}
}

// segmentSize is what a segment costs in the queue beside its bytes: the engine's
// packet and what points at it.
const segmentSize = 1 << 10

var segmentFrames = sync.Pool{}

// segmentFrame returns a frame that holds seg and, until it is free, its owner.
func segmentFrame(seg *l3conn.Segment, owner Owner) *Frame {
	f, ok := segmentFrames.Get().(*Frame)
	if !ok {
		f = &Frame{pool: &segmentFrames}
	}
	f.seg, f.owner = *seg, owner
	f.size = seg.Len() + segmentSize
	return f
}

// pools gives frames of sizes that double from smallFrame up to the MTU, so that
// no packet has more than twice its length in memory, small ones apart.
type pools struct {
	sizes []int
	pools []sync.Pool // of each size
}

func newPools(mtu int) *pools {
	p := new(pools)
	for size := smallFrame; size < mtu; size *= 2 {
		p.sizes = append(p.sizes, size)
	}
	p.sizes = append(p.sizes, max(mtu, smallFrame))
	p.pools = make([]sync.Pool, len(p.sizes))
	for i, size := range p.sizes {
		pool := &p.pools[i]
		pool.New = func() any { return &Frame{b: make([]byte, size), size: size, pool: pool} }
	}
	return p
}

// get returns a frame for n bytes. One beyond the MTU is not pooled.
func (p *pools) get(n int) *Frame {
	for i, size := range p.sizes {
		if n <= size {
			f := p.pools[i].Get().(*Frame)
			f.n = n
			return f
		}
	}
	return &Frame{b: make([]byte, n), n: n, size: n}
}

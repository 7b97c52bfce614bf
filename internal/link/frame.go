package link

import "sync"

// smallFrame holds every packet without payload: an acknowledgement in a frame
// of the MTU's size would make the queue's bytes forty times what is in it.
const smallFrame = 192

// Frame is pooled memory for one packet. Whoever got it from Link.Frame fills it
// and gives it to Link.Send, which owns it from then on.
type Frame struct {
	b    []byte // whole capacity
	n    int    // bytes of the packet
	pool *sync.Pool
	next *Frame // in the queue
	cls  Class
}

// Bytes returns the room of the frame, at least as long as was asked for.
func (f *Frame) Bytes() []byte { return f.b }

// SetLen says how many bytes the packet has.
func (f *Frame) SetLen(n int) { f.n = n }

func (f *Frame) packet() []byte { return f.b[:f.n] }

func (f *Frame) free() {
	f.next = nil
	if f.pool != nil {
		f.pool.Put(f)
	}
}

// pools gives frames of two sizes.
type pools struct {
	small, large sync.Pool
	size         int // of the large ones
}

func newPools(mtu int) *pools {
	p := &pools{size: mtu}
	p.small.New = func() any { return &Frame{b: make([]byte, smallFrame), pool: &p.small} }
	p.large.New = func() any { return &Frame{b: make([]byte, p.size), pool: &p.large} }
	return p
}

// get returns a frame for n bytes. One beyond the MTU is not pooled.
func (p *pools) get(n int) *Frame {
	var f *Frame
	switch {
	case n <= smallFrame:
		f = p.small.Get().(*Frame)
	case n <= p.size:
		f = p.large.Get().(*Frame)
	default:
		f = &Frame{b: make([]byte, n)}
	}
	f.n = n
	return f
}

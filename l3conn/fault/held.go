package fault

import "sync"

// held is a packet under way.
type held struct {
	due  int64  // when it leaves, in ns since the epoch of the line
	seq  uint64 // decides between equals: first come, first served
	buf  []byte // whole memory
	n    int    // bytes of the packet
	pool *sync.Pool
}

func (h *held) packet() []byte { return h.buf[:h.n] }

func (h *held) free() { h.pool.Put(h) }

// heldSizes are the sizes of pooled memory: an acknowledgement, a packet of the
// usual MTU, and any.
var heldSizes = [...]int{256, 2048, 1 << 16}

var heldPools [len(heldSizes)]sync.Pool

// newHeld copies p.
func newHeld(p []byte) *held {
	h := getHeld(len(p))
	h.n = copy(h.buf, p)
	return h
}

// getHeld returns memory for n bytes, at most the longest packet.
func getHeld(n int) *held {
	i := 0
	for heldSizes[i] < n {
		i++
	}
	if h, ok := heldPools[i].Get().(*held); ok {
		return h
	}
	return &held{buf: make([]byte, heldSizes[i]), pool: &heldPools[i]}
}

// heap holds packets, the one that leaves next in front.
type heap []*held

func (q heap) less(i, j int) bool {
	if q[i].due != q[j].due {
		return q[i].due < q[j].due
	}
	return q[i].seq < q[j].seq
}

func (q *heap) push(h *held) {
	*q = append(*q, h)
	s := *q
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.less(i, up) {
			return
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (q *heap) pop() *held {
	s := *q
	first, last := s[0], len(s)-1
	s[0], s[last] = s[last], nil
	s = s[:last]
	*q = s
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(s) {
			return first
		}
		if right := down + 1; right < len(s) && s.less(right, down) {
			down = right
		}
		if !s.less(down, i) {
			return first
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
}

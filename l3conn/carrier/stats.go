package carrier

import (
	"sync"
	"time"
)

// Stats are the state and the counters of a Conn since New.
type Stats struct {
	// State is the present one, since Since.
	State State
	Since time.Time
	// Last is why there is no carrier: its loss, or the error of the last Dial. It is nil
	// while there is one.
	Last error
	// Carriers had their turn, the present one included; Losses failed, and Replaced had
	// to go for the next one. DownFor is how long there was none.
	Carriers, Losses, Replaced uint64
	DownFor                    time.Duration
	// Dials counts calls of Config.Dial, DialErrors those that gave no carrier.
	Dials, DialErrors uint64
	// Waits counts Writes that waited for a carrier, Lost those that got ErrDown.
	Waits, Lost uint64
}

// Stats returns the counters at one moment.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.tally
	s.Since, s.Last = c.since, c.last
	s.Waits, s.Lost = c.waits.Load(), c.lost.Load()
	switch {
	case c.over != nil:
		s.State, s.Last = Over, c.over
	case c.present.Load() != nil:
		s.State = Up
	default:
		s.State = Down
		s.DownFor += time.Since(c.since)
	}
	return s
}

// maxChanges bounds the changes that an observer has not heard of; the oldest are
// dropped, for it is the last one that counts.
const maxChanges = 64

// changes tells the observer, in order. add is called under the Conn's mu, drain
// without.
type changes struct {
	tell func(Change)

	mu      sync.Mutex
	waiting []Change
	telling bool // somebody is in drain, and will take what is added
}

func (n *changes) add(ch Change) {
	if n.tell == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == maxChanges {
		n.waiting = n.waiting[1:]
	}
	n.waiting = append(n.waiting, ch)
}

func (n *changes) drain() {
	if n.tell == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.telling && len(n.waiting) > 0 {
		ch := n.waiting[0]
		n.waiting, n.telling = n.waiting[1:], true
		n.mu.Unlock()
		n.tell(ch)
		n.mu.Lock()
		n.telling = false
	}
}

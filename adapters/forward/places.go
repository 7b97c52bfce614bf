package forward

import (
	"net/netip"
	"sync"
	"time"

	"l3extract/internal/fifo"
	"l3extract/internal/limit"
	"l3extract/tcp"
)

// patientDial is how long a dial has its place for sure. One that takes longer mostly
// goes where nobody answers, and gives way when there is no place left: else a client
// that dials into a black hole, however many addresses that has, would keep all others
// from being served, and itself.
const patientDial = time.Second

// places are those of the dials in flight.
type places struct {
	table *limit.Table

	mu      sync.Mutex       // a leaf
	waiting fifo.List[place] // first those who have waited longest
}

// place is one of them. Its release is idempotent.
type place struct {
	of     *places
	source netip.Addr
	target netip.AddrPort
	began  time.Time

	giveUp func()           // ends the dial, and does not wait for that; under the mu of places
	node   fifo.Node[place] // the same
	free   bool             // the same
}

// acquire takes a dial's place. If there is none the dial that has waited longest gives
// way, if that is long: one of the same source, if that has many places.
func (n *session) acquire(st *tcp.Stream, t *Target) (*place, error) {
	p := &place{of: &n.dials, source: st.Source().Addr(), target: t.Addr, began: time.Now()}
	verdict, others := n.dials.table.AcquireBeside(p.source, p.target)
	if verdict == limit.Total && n.dials.makeRoom(p) {
		n.stats.dialsCut.Add(1)
		verdict, others = n.dials.table.AcquireBeside(p.source, p.target)
	}
	if verdict != limit.OK {
		n.stats.limited.Add(1)
		return nil, errLimited
	}
	if others > 0 && n.cameBack(st.Source(), st.Destination()) {
		p.release()
		n.looped("tcp", st.Source(), st.Destination())
		return nil, errLooped
	}
	return p, nil
}

// makeRoom ends the dial that gives way to p, and gives its place back.
func (d *places) makeRoom(p *place) bool {
	anyone := d.table.Holds(p.source) < limit.Small
	d.mu.Lock()
	var first *place
	for v := range d.waiting.All() {
		if p.began.Sub(v.began) < patientDial {
			break
		}
		if anyone || limit.DefaultKey(v.source) == limit.DefaultKey(p.source) {
			first = v
			break
		}
	}
	if first == nil {
		d.mu.Unlock()
		return false
	}
	giveUp := first.giveUp
	d.mu.Unlock()
	first.release()
	giveUp()
	return true
}

// wait lets giveUp be called, once at most, when the place is needed.
func (p *place) wait(giveUp func()) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if !p.free {
		p.giveUp = giveUp
		p.of.waiting.Push(&p.node, p)
	}
}

// release gives the place back.
func (p *place) release() {
	p.of.mu.Lock()
	was := p.free
	p.free = true
	p.node.Remove()
	p.of.mu.Unlock()
	if !was {
		p.of.table.Release(p.source, p.target)
	}
}

// cut reports whether a dial that is still under way has given its place up.
func (p *place) cut() bool {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	return p.free
}

package forward

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"time"

	"l3extract/internal/fifo"
)

// dials are the pairs whose dial is in flight. All have the same time, so the first to
// come is the first to be late.
type dials struct {
	timeout time.Duration // 0: none

	mu      sync.Mutex // a leaf
	waiting fifo.List[dialing]
	timer   *time.Timer
	closed  bool
	late    sync.WaitGroup // calls of the timer
}

// dialing is the part of a pair that its dial needs.
type dialing struct {
	p     *pair
	ctx   context.Context // of the session
	addr  netip.AddrPort
	place *place
	began time.Time
	node  fifo.Node[dialing]
}

func (d *dials) init(timeout time.Duration) { d.timeout = timeout }

func (d *dials) add(g *dialing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting.Push(&g.node, g)
	if d.waiting.First() == g {
		d.armLocked()
	}
}

// armLocked has expire run when the first is late.
func (d *dials) armLocked() {
	if d.closed || d.timer != nil || d.timeout <= 0 {
		return
	}
	d.late.Add(1)
	d.timer = time.AfterFunc(time.Until(d.waiting.First().began.Add(d.timeout)), d.expire)
}

func (d *dials) remove(g *dialing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.node.Remove()
}

// from tells whether a socket with the local address src is being connected to dst.
func (d *dials) from(src, dst netip.AddrPort) bool {
	var there []*pair
	d.mu.Lock()
	for g := range d.waiting.All() {
		if g.addr == dst {
			there = append(there, g.p)
		}
	}
	d.mu.Unlock()
	for _, p := range there {
		p.up.Lock()
		same := p.sock.FD >= 0 && localOf(p.sock.FD) == src
		p.up.Unlock()
		if same {
			return true
		}
	}
	return false
}

// expire fails the dials that are late.
func (d *dials) expire() {
	defer d.late.Done()
	var late []*dialing
	d.mu.Lock()
	d.timer = nil
	now, first := time.Now(), d.waiting.First()
	for ; first != nil && now.Sub(first.began) >= d.timeout; first = d.waiting.First() {
		late = append(late, first)
		first.node.Remove()
	}
	if first != nil {
		d.armLocked()
	}
	d.mu.Unlock()
	for _, g := range late {
		g.p.dialFailed(g, dialError(g, os.ErrDeadlineExceeded))
	}
}

// close waits for expire. There are no dials any more.
func (d *dials) close() {
	d.mu.Lock()
	d.closed = true
	if d.timer != nil && d.timer.Stop() {
		d.late.Done()
	}
	d.mu.Unlock()
	d.late.Wait()
}

package ether

import (
	"net/netip"
	"sync"
	"time"
)

const (
	askSlots = 64
	// askAgain is how long an address is not asked for again.
	askAgain = time.Second
	// askPatience is how long a packet waits for the answer.
	askPatience = 3 * time.Second
)

// asking is what waits for the segment to say where an address is: one packet for each,
// as a host needs (RFC 1122, 2.3.2.2). Addresses that share a slot displace each other.
type asking struct {
	mu    sync.Mutex
	slots map[netip.Addr]*question // at most askSlots
}

type question struct {
	asked time.Duration
	kind  uint16
	p     []byte
	since time.Duration
}

// ask keeps packet p and asks where its destination is. It returns true, and where, if that
// has become known meanwhile.
func (c *Conn) ask(a netip.Addr, kind uint16, p []byte, to *MAC) bool {
	if !c.onLink(a) || c.ours(a) {
		c.counters.noNeigh.Add(1)
		return false
	}
	k, now := &c.asking, c.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	var ok bool
	if *to, ok = c.table.find(a); ok { // before the answer looks for packets
		return true
	}
	q := k.slots[a]
	if q == nil {
		if q = k.place(now); q == nil {
			c.counters.noNeigh.Add(1)
			return false
		}
		k.slots[a] = q
	}
	if q.p != nil {
		c.counters.noNeigh.Add(1)
	}
	q.kind, q.p, q.since = kind, append([]byte(nil), p...), now
	if now-q.asked >= askAgain {
		q.asked = now
		c.counters.asked.Add(1)
		c.question(a)
	}
	return false
}

// place returns a fresh question, nil if there is no room for one.
func (k *asking) place(now time.Duration) *question {
	if k.slots == nil {
		k.slots = make(map[netip.Addr]*question)
	}
	if len(k.slots) >= askSlots {
		for a, q := range k.slots {
			if now-q.since >= askPatience {
				delete(k.slots, a)
			}
		}
	}
	if len(k.slots) >= askSlots {
		return nil
	}
	return &question{asked: now - askAgain}
}

// found sends what waited for address a, which is at m.
func (c *Conn) found(a netip.Addr, m MAC) {
	k := &c.asking
	k.mu.Lock()
	q := k.slots[a]
	delete(k.slots, a)
	k.mu.Unlock()
	if q == nil {
		return
	}
	if c.now()-q.since >= askPatience {
		c.counters.noNeigh.Add(1)
		return
	}
	c.answer(append(appendHeader(nil, m, c.cfg.MAC, q.kind), q.p...))
}

package fakeip

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// The methods below are called with the lock held, but place and addrs.

// place returns which place of the pool a stands for.
func (p *Pool) place(a netip.Addr) (uint32, bool) {
	a = a.Unmap()
	var n uint64
	switch {
	case p.v4.Contains(a):
		was, is := p.v4.Addr().As4(), a.As4()
		n = uint64(binary.BigEndian.Uint32(is[:]) - binary.BigEndian.Uint32(was[:]))
	case p.v6.Contains(a.WithZone("")):
		was, is := p.v6.Addr().As16(), a.As16()
		if [8]byte(was[:8]) != [8]byte(is[:8]) {
			return 0, false // of a prefix shorter than /64, beyond what is given out
		}
		n = binary.BigEndian.Uint64(is[8:]) - binary.BigEndian.Uint64(was[8:])
	}
	return uint32(n), n > 0 && n <= uint64(p.span)
}

// addrs are the addresses of a place.
func (p *Pool) addrs(place uint32) (v4, v6 netip.Addr) {
	b4, b6 := p.v4.Addr().As4(), p.v6.Addr().As16()
	binary.BigEndian.PutUint32(b4[:], binary.BigEndian.Uint32(b4[:])+place)
	binary.BigEndian.PutUint64(b6[8:], binary.BigEndian.Uint64(b6[8:])+uint64(place))
	return netip.AddrFrom4(b4), netip.AddrFrom16(b6)
}

// room makes sure that one more name of o has a place, and forgets another's for it.
func (p *Pool) room(o *owner, now time.Duration) bool {
	free, oldest := p.size-len(p.byName), p.recent.Back()
	if share := p.size / 8; o.names > share {
		free, oldest = free-share, o.recent.Back()
	}
	if free > 0 {
		return true
	}
	if oldest == nil {
		return false
	}
	e := oldest.Value.(*entry)
	if p.hold > 0 && now-e.used < p.hold {
		return false
	}
	p.remove(e)
	p.stats.Forgotten++
	return true
}

// free returns the next place that has no name. There is one: see New.
func (p *Pool) free() uint32 {
	for {
		place := p.next
		if p.next++; p.next > p.span {
			p.next = 1
		}
		if p.byPlace[place] == nil && !p.reserved[place] {
			return place
		}
	}
}

// add gives name a place.
func (p *Pool) add(o *owner, name string, place uint32) *entry {
	p.owners[o.key] = o
	e := &entry{name: name, place: place, owner: o}
	o.names++
	p.byName[name], p.byPlace[place] = e, e
	p.list(e)
	return e
}

// list puts e at the front of the lists.
func (p *Pool) list(e *entry) {
	e.inPool, e.inOwner = p.recent.PushFront(e), e.owner.recent.PushFront(e)
}

func (p *Pool) use(e *entry, now time.Duration) {
	e.used = now
	if e.inPool != nil {
		p.recent.MoveToFront(e.inPool)
		e.owner.recent.MoveToFront(e.inOwner)
	}
}

func (p *Pool) remove(e *entry) {
	p.recent.Remove(e.inPool)
	e.owner.recent.Remove(e.inOwner)
	delete(p.byName, e.name)
	delete(p.byPlace, e.place)
	e.owner.names--
	p.dropOwner(e.owner)
}

// dropOwner forgets an owner of nothing, so that owners are no more than names.
func (p *Pool) dropOwner(o *owner) {
	if o.names == 0 {
		delete(p.owners, o.key)
	}
}

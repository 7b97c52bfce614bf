package udp

import (
	"net/netip"

	"l3extract/internal/budget"
)

// filterGeneration is how many addresses one half of a filter holds. Two
// thousand peers in five minutes is more than any host talks to from one port
// but a DHT crawler, which sends again before it expects an answer.
const filterGeneration = 1024

// filterCost is what one address in a filter counts for the budget, in bytes: its 32,
// and as much again for the map.
const filterCost = 64

// filter remembers whom a client has sent to, or on a PerDestination Socket
// which clients have sent. It is bounded: when one generation is full, the one
// before it is forgotten.
type filter struct {
	mode       Filtering
	budget     *budget.Budget // of the whole stack; nil is unlimited
	cur, older map[netip.AddrPort]struct{}
}

// key is what the mode compares.
func (f *filter) key(a netip.AddrPort) netip.AddrPort {
	if f.mode == AddressDependent {
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// allow remembers a. It fails when there is no memory for that.
func (f *filter) allow(a netip.AddrPort) bool {
	k := f.key(a)
	if _, ok := f.cur[k]; ok {
		return true
	}
	if f.budget != nil && !f.budget.Take(budget.Datagram, filterCost) {
		return false
	}
	if len(f.cur) >= filterGeneration {
		f.give(len(f.older))
		f.older, f.cur = f.cur, nil
	}
	if f.cur == nil {
		f.cur = make(map[netip.AddrPort]struct{})
	}
	f.cur[k] = struct{}{}
	return true
}

// allows tells whether a is remembered. A nil filter allows all.
func (f *filter) allows(a netip.AddrPort) bool {
	if f == nil {
		return true
	}
	k := f.key(a)
	if _, ok := f.cur[k]; ok {
		return true
	}
	_, ok := f.older[k]
	return ok
}

// free forgets all. A nil filter has nothing.
func (f *filter) free() {
	if f == nil {
		return
	}
	f.give(len(f.cur) + len(f.older))
	f.cur, f.older = nil, nil
}

// give returns the memory of n addresses.
func (f *filter) give(n int) {
	if f.budget != nil {
		f.budget.Give(budget.Datagram, int64(n)*filterCost)
	}
}

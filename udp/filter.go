package udp

import "net/netip"

// filterGeneration is how many addresses one half of a filter holds. Two
// thousand peers in five minutes is more than any host talks to from one port
// but a DHT crawler, which sends again before it expects an answer.
const filterGeneration = 1024

// filter remembers whom a client has sent to, or on a PerDestination Socket
// which clients have sent. It is bounded: when one generation is full, the one
// before it is forgotten.
type filter struct {
	mode       Filtering
	cur, older map[netip.AddrPort]struct{}
}

// key is what the mode compares.
func (f *filter) key(a netip.AddrPort) netip.AddrPort {
	if f.mode == AddressDependent {
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// allow remembers a.
func (f *filter) allow(a netip.AddrPort) {
	k := f.key(a)
	if _, ok := f.cur[k]; ok {
		return
	}
	if len(f.cur) >= filterGeneration {
		f.older, f.cur = f.cur, nil
	}
	if f.cur == nil {
		f.cur = make(map[netip.AddrPort]struct{})
	}
	f.cur[k] = struct{}{}
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

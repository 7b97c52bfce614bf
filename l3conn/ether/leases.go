package ether

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// offerTime is how long an offered address waits for the guest to take it.
	offerTime = time.Minute
	// declineTime is how long one that somebody else answers for is not given. It is short,
	// because a guest can say so of every address.
	declineTime = 10 * time.Minute
)

// leases says whose the addresses of the pool are. Times are since the Conn was made.
type leases struct {
	cfg   *DHCPConfig
	own   []netip.Addr // never given
	table *neighbours  // says who is there without having asked
	first uint32
	count uint32

	// mu is taken before that of table.
	mu     sync.Mutex
	byMAC  map[MAC]*lease
	byAddr map[netip.Addr]*lease
	full   time.Duration // until then there is nothing to give
}

// lease is an address that was offered or given, and may be over: whoever had it gets it
// again as long as nobody else needs it.
type lease struct {
	addr  netip.Addr
	mac   MAC // zero: declined, because somebody else answers for it
	host  string
	until time.Duration
	given bool
}

func newLeases(cfg *DHCPConfig, own []netip.Addr, table *neighbours) *leases {
	l := &leases{cfg: cfg, own: own, table: table, byMAC: make(map[MAC]*lease), byAddr: make(map[netip.Addr]*lease)}
	first, last := number(cfg.First), number(cfg.Last)
	l.first, l.count = first, min(last-first+1, maxPool)
	return l
}

func number(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// fixed returns whose an address is by configuration.
func (l *leases) fixed(a netip.Addr) (MAC, bool) {
	for m, b := range l.cfg.Fixed {
		if a == b {
			return m, true
		}
	}
	return MAC{}, false
}

// owner returns whose an address is now.
func (l *leases) owner(a netip.Addr, now time.Duration) (MAC, bool) {
	if m, ok := l.fixed(a); ok {
		return m, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byAddr[a]; e != nil && e.given && now < e.until && e.mac != (MAC{}) {
		return e.mac, true
	}
	return MAC{}, false
}

// find returns the address for m: its own, or the one it wants, or any. It is not m's
// until it is held.
func (l *leases) find(m MAC, wanted netip.Addr, now time.Duration) (netip.Addr, bool) {
	if a, ok := l.cfg.Fixed[m]; ok {
		return a, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byMAC[m]; e != nil && l.free(e.addr, m, now) {
		return e.addr, true
	}
	if l.free(wanted, m, now) {
		return wanted, true
	}
	if now < l.full {
		return netip.Addr{}, false
	}
	h := fnv.New32a() // the same guest gets the same address, also of another Conn
	h.Write(m[:])
	soonest := now + offerTime
	for i := range l.count {
		a := address(l.first + (h.Sum32()%l.count+i)%l.count)
		if l.free(a, m, now) {
			return a, true
		}
		if e := l.byAddr[a]; e != nil {
			soonest = min(soonest, e.until)
		}
	}
	l.full = max(soonest, now+time.Second)
	return netip.Addr{}, false
}

// may reports whether m can have address a.
func (l *leases) may(m MAC, a netip.Addr, now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free(a, m, now)
}

// free is may for who holds mu.
func (l *leases) free(a netip.Addr, m MAC, now time.Duration) bool {
	if own, ok := l.cfg.Fixed[m]; ok {
		return own == a
	}
	if !a.Is4() || a.Less(l.cfg.First) || l.cfg.Last.Less(a) || number(a)-l.first >= l.count || slices.Contains(l.own, a) {
		return false
	}
	if _, ok := l.fixed(a); ok {
		return false
	}
	if e := l.byAddr[a]; e != nil && e.mac != m && now < e.until {
		return false
	}
	holder, ok := l.table.holder(a, now)
	return !ok || holder == m
}

// hold makes a the address of m for so long. It reports whether m was given another
// before, or none.
func (l *leases) hold(m MAC, a netip.Addr, host string, given bool, now, long time.Duration) (fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byMAC[m]
	if e != nil && e.addr == a && e.given && now < e.until && !given {
		return false // an offer of what it has
	}
	fresh = given && (e == nil || e.addr != a || !e.given)
	if e != nil {
		l.drop(e)
	}
	if other := l.byAddr[a]; other != nil {
		l.drop(other)
	}
	e = &lease{addr: a, mac: m, host: host, until: now + long, given: given}
	l.byAddr[a] = e
	if m != (MAC{}) {
		l.byMAC[m] = e
	}
	return fresh
}

// release ends the lease of m on a; it is remembered.
func (l *leases) release(m MAC, a netip.Addr, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byMAC[m]; e != nil && e.addr == a {
		e.until, e.given, l.full = now, false, 0
	}
}

// decline takes a away from m, for a while from everybody.
func (l *leases) decline(m MAC, a netip.Addr, now time.Duration) {
	l.mu.Lock()
	e := l.byMAC[m]
	l.mu.Unlock()
	if e != nil && e.addr == a {
		l.hold(MAC{}, a, "", true, now, min(declineTime, l.cfg.LeaseTime))
	}
}

// drop forgets a lease.
func (l *leases) drop(e *lease) {
	if l.byAddr[e.addr] == e {
		delete(l.byAddr, e.addr)
	}
	if l.byMAC[e.mac] == e {
		delete(l.byMAC, e.mac)
	}
}

// Lease is an address that DHCP has given.
type Lease struct {
	// Addr is the address of the guest with the MAC.
	Addr netip.Addr
	MAC  MAC
	// Host is what the guest calls itself: letters, digits, points and hyphens.
	Host string
	// Left is for how long the guest has it.
	Left time.Duration
}

// Leases returns the addresses that guests have of DHCP, in order.
func (c *Conn) Leases() []Lease {
	if c.leases == nil {
		return nil
	}
	l, now := c.leases, c.now()
	l.mu.Lock()
	var all []Lease
	for a, e := range l.byAddr {
		if e.given && e.mac != (MAC{}) && now < e.until {
			all = append(all, Lease{a, e.mac, e.host, e.until - now})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(x, y Lease) int { return x.Addr.Compare(y.Addr) })
	return all
}

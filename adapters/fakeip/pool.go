package fakeip

import (
	"container/list"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"l3extract/internal/limit"
)

// Config is the configuration of a Pool.
type Config struct {
	// V4 and V6 are where the addresses come from. Their first and last address are
	// not given out. Default: 198.18.0.0/15 and fd6c:3366:616b:6500::/64.
	V4, V6 netip.Prefix

	// Size is how many names the pool holds, at most half of what the smaller prefix
	// has; one source alone has seven eighths of it. A name costs some 300 bytes. Default: 65536, or that half.
	Size int

	// Reserved are addresses of the prefixes that are somebody's: those of the TUN
	// device, of the Stack, of a resolver. Their places are given to no name.
	Reserved []netip.Addr

	// Hold is how long after its last use a name is not forgotten, whatever comes.
	// Default: 60 s. Negative: no time.
	Hold time.Duration
}

// The defaults of Config's fields.
const (
	DefaultSize = 65536
	DefaultHold = 60 * time.Second
)

var (
	defaultV4 = netip.MustParsePrefix("198.18.0.0/15")
	defaultV6 = netip.MustParsePrefix("fd6c:3366:616b:6500::/64")
)

// Errors of Assign.
var (
	ErrExhausted = errors.New("no fake address is free: all are in use or were a moment ago")
	ErrName      = errors.New("not the name of a host")
)

// Stats is the account of a Pool.
type Stats struct {
	Names     int    // held now
	Pinned    int    // of these, pinned
	Assigned  uint64 // names that got an address
	Forgotten uint64 // names that were forgotten for others
	Exhausted uint64 // times that Assign found nothing to forget
	Unknown   uint64 // times that Name was asked for an address without a name
}

// Pool holds names and the addresses that stand for them. Its methods may be called
// at once; none of them but Save and Load waits.
type Pool struct {
	v4, v6 netip.Prefix
	size   int
	span   uint32 // places: 1 to span
	hold   time.Duration
	start  time.Time

	mu       sync.Mutex // a leaf
	next     uint32     // the place to try next
	reserved map[uint32]bool
	byName   map[string]*entry
	byPlace  map[uint32]*entry
	owners   map[netip.Prefix]*owner
	recent   list.List // of *entry, all that are not pinned, the last used first
	stats    Stats
}

// entry is a name and its place.
type entry struct {
	name  string
	place uint32
	pins  int
	used  time.Duration // since the pool's start
	owner *owner
	// Where it stands in the pool's list and its owner's; nil while it is pinned.
	inPool, inOwner *list.Element
}

// owner is a source that was the first to ask for some names.
type owner struct {
	key    netip.Prefix
	names  int
	recent list.List // as the pool's
}

// New returns an empty pool. A nil cfg is the default; the error names the field that
// makes no sense.
func New(cfg *Config) (*Pool, error) {
	c := Config{}
	if cfg != nil {
		c = *cfg
	}
	if !c.V4.IsValid() {
		c.V4 = defaultV4
	}
	if !c.V6.IsValid() {
		c.V6 = defaultV6
	}
	c.V4, c.V6 = c.V4.Masked(), c.V6.Masked()
	switch {
	case !c.V4.Addr().Is4() || c.V4.Bits() > 29 || c.V4.Bits() < 8:
		return nil, fmt.Errorf("fakeip: V4 is %v, and an IPv4 prefix of /8 to /29 is needed", c.V4)
	case !c.V6.Addr().Is6() || c.V6.Addr().Is4In6() || c.V6.Bits() > 125:
		return nil, fmt.Errorf("fakeip: V6 is %v, and an IPv6 prefix of at most /125 is needed", c.V6)
	}
	p := &Pool{
		v4: c.V4, v6: c.V6, hold: c.Hold, start: time.Now(),
		span:     1<<min(32-c.V4.Bits(), 128-c.V6.Bits()) - 2,
		reserved: make(map[uint32]bool),
		byName:   make(map[string]*entry), byPlace: make(map[uint32]*entry),
		owners: make(map[netip.Prefix]*owner),
	}
	for _, a := range c.Reserved {
		if place, ok := p.place(a); ok {
			p.reserved[place] = true
		}
	}
	// Half of the places lie fallow, so that a free one is found at once.
	most := (int(p.span)+1)/2 - len(p.reserved)
	switch p.size = c.Size; {
	case most < 1:
		return nil, fmt.Errorf("fakeip: Reserved leaves no address of %v", p.v4)
	case c.Size == 0:
		p.size = min(DefaultSize, most)
	case c.Size < 0 || c.Size > most:
		return nil, fmt.Errorf("fakeip: Size is %d, and the prefixes allow 1 to %d", c.Size, most)
	}
	if p.hold == 0 {
		p.hold = DefaultHold
	}
	p.next = 1 + rand.Uint32N(p.span)
	return p, nil
}

// Prefixes returns where the addresses come from, for routes.
func (p *Pool) Prefixes() (v4, v6 netip.Prefix) { return p.v4, p.v6 }

// Hold returns for how long a name is kept after its last use whatever comes; negative:
// no time.
func (p *Pool) Hold() time.Duration { return p.hold }

// Contains tells whether a is an address of the pool, with a name or without.
func (p *Pool) Contains(a netip.Addr) bool {
	_, ok := p.place(a)
	return ok
}

// Assign returns the addresses that stand for name, which src has asked for, and uses
// them. Case and a final dot do not matter. The error is ErrExhausted or ErrName.
func (p *Pool) Assign(src netip.Addr, name string) (v4, v6 netip.Addr, err error) {
	name, ok := canonical(name)
	if !ok {
		return v4, v6, ErrName
	}
	now := time.Since(p.start)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byName[name]
	if e == nil {
		o := p.ownerOf(src)
		if !p.room(o, now) {
			p.stats.Exhausted++
			p.dropOwner(o)
			return v4, v6, ErrExhausted
		}
		e = p.add(o, name, p.free())
		p.stats.Assigned++
	}
	p.use(e, now)
	v4, v6 = p.addrs(e.place)
	return v4, v6, nil
}

// Name returns the name that a stands for, without a final dot, and uses it.
func (p *Pool) Name(a netip.Addr) (string, bool) {
	place, ok := p.place(a)
	if !ok {
		return "", false
	}
	now := time.Since(p.start)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byPlace[place]
	if e == nil {
		p.stats.Unknown++
		return "", false
	}
	p.use(e, now)
	return e.name, true
}

// Pin keeps the name of a until Unpin was called as often. It returns false, and does
// nothing, if a stands for no name: then Unpin must not be called.
func (p *Pool) Pin(a netip.Addr) bool {
	place, ok := p.place(a)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byPlace[place]
	if e == nil {
		return false
	}
	if e.pins++; e.pins == 1 {
		p.recent.Remove(e.inPool)
		e.owner.recent.Remove(e.inOwner)
		e.inPool, e.inOwner = nil, nil
		p.stats.Pinned++
	}
	return true
}

// Unpin takes one Pin of a back, and uses it. Without one it does nothing.
func (p *Pool) Unpin(a netip.Addr) {
	place, ok := p.place(a)
	if !ok {
		return
	}
	now := time.Since(p.start)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byPlace[place]
	if e == nil || e.pins == 0 {
		return
	}
	if e.pins--; e.pins == 0 {
		p.list(e)
		p.stats.Pinned--
	}
	p.use(e, now)
}

// Stats returns the account as of now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Names = len(p.byName)
	return s
}

// canonical returns a name as it is kept, and false for what is none.
func canonical(name string) (string, bool) {
	const longest = 253 // RFC 1035, 2.3.4, as text
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > longest || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return "", false
	}
	return strings.ToLower(name), true
}

func (p *Pool) ownerOf(src netip.Addr) *owner {
	key := limit.DefaultKey(src)
	o := p.owners[key]
	if o == nil {
		o = &owner{key: key}
		p.owners[key] = o
	}
	return o
}

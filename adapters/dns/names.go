package dns

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// names remembers which client was told which address for which name. It is bounded in
// total and per client; what was told least recently goes.
type names struct {
	total, perSource int // the bounds

	mu      sync.Mutex // a leaf
	sources map[netip.Addr]*source
	recent  list.List // of *told, the last told first
}

// source is what one client was told.
type source struct {
	byAddr map[netip.Addr]*told
	recent list.List // as that of all
}

// told is one address that a client was told.
type told struct {
	source, addr    netip.Addr
	name            string // without the final dot
	until           time.Time
	inAll, inSource *list.Element
}

// newNames returns nil, which remembers nothing, for bounds that are negative.
func newNames(total, perSource int) *names {
	if total < 0 || perSource < 0 {
		return nil
	}
	return &names{total: total, perSource: perSource, sources: make(map[netip.Addr]*source)}
}

// put remembers until then that src was told that name has these addresses.
func (n *names) put(src netip.Addr, name string, addrs []netip.Addr, until time.Time) {
	if n == nil || len(addrs) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, addr := range addrs {
		n.putOne(src, name, addr, until)
	}
}

func (n *names) putOne(src netip.Addr, name string, addr netip.Addr, until time.Time) {
	s := n.sources[src]
	if s == nil {
		s = &source{byAddr: make(map[netip.Addr]*told)}
		n.sources[src] = s
	}
	if t := s.byAddr[addr]; t != nil { // the last name holds: it is what the client connects for
		t.name, t.until = name, until
		n.recent.MoveToFront(t.inAll)
		s.recent.MoveToFront(t.inSource)
		return
	}
	t := &told{source: src, addr: addr, name: name, until: until}
	t.inAll, t.inSource = n.recent.PushFront(t), s.recent.PushFront(t)
	s.byAddr[addr] = t
	if len(s.byAddr) > n.perSource {
		n.remove(s.recent.Back().Value.(*told))
	}
	if n.recent.Len() > n.total {
		n.remove(n.recent.Back().Value.(*told))
	}
}

// get returns the name for which src was told addr.
func (n *names) get(src, addr netip.Addr, now time.Time) (string, bool) {
	if n == nil {
		return "", false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.sources[src]
	if s == nil {
		return "", false
	}
	t := s.byAddr[addr]
	if t == nil {
		return "", false
	}
	if !now.Before(t.until) {
		n.remove(t)
		return "", false
	}
	return t.name, true
}

func (n *names) remove(t *told) {
	s := n.sources[t.source]
	n.recent.Remove(t.inAll)
	s.recent.Remove(t.inSource)
	delete(s.byAddr, t.addr)
	if len(s.byAddr) == 0 {
		delete(n.sources, t.source)
	}
}

func (n *names) size() int {
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.recent.Len()
}

package stack

import (
	"container/list"
	"net/netip"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// What one source may hold of the engine's reassembly, so that the fragments of one
// that never completes anything leave room for those of others. A fragment counts for
// its bytes and for what the engine has around them.
const (
	fragmentShare    = reassemblySize / 4
	fragmentOverhead = 512
	// maxPartials bounds the account itself.
	maxPartials = 8192
)

// partials is the account of the datagrams that wait for fragments, of one IP version.
// The engine keeps one until it is whole or its time is up; it may give up earlier,
// which it does not tell. Only the reader uses it.
type partials struct {
	keep     time.Duration // how long the engine waits for the rest
	byID     map[fragmentID]*list.Element
	byAge    list.List // of *partial, oldest first
	bySource map[netip.Prefix]int
	last     *list.Element // the one that admit was asked for last
}

// fragmentID tells the datagrams apart (RFC 791, RFC 8200 4.5).
type fragmentID struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8 // IPv4 only
}

type partial struct {
	id     fragmentID
	source netip.Prefix
	held   int
	since  time.Time
}

func (t *partials) init(keep time.Duration) {
	t.keep = keep
	t.byID = make(map[fragmentID]*list.Element)
	t.bySource = make(map[netip.Prefix]int)
}

// admit accounts for a fragment, or says why there is no room for it.
func (t *partials) admit(p *packet.Packet, source netip.Prefix, now time.Time) drop.Cause {
	for e := t.byAge.Front(); e != nil && now.Sub(e.Value.(*partial).since) >= t.keep; e = t.byAge.Front() {
		t.remove(e)
	}
	t.last = nil
	id := fragmentID{src: p.Src, dst: p.Dst, id: p.FragID}
	if p.Version == 4 {
		id.proto = p.Proto
	}
	cost := len(p.Raw) + fragmentOverhead
	if t.bySource[source]+cost > fragmentShare {
		return drop.FragmentSource
	}
	e := t.byID[id]
	if e == nil {
		if len(t.byID) >= maxPartials {
			return drop.FragmentMemory
		}
		e = t.byAge.PushBack(&partial{id: id, source: source, since: now})
		t.byID[id] = e
	}
	e.Value.(*partial).held += cost
	t.bySource[source] += cost
	t.last = e
	return drop.None
}

// whole forgets the datagram of the fragment that was admitted last.
func (t *partials) whole() {
	if t.last != nil {
		t.remove(t.last)
		t.last = nil
	}
}

func (t *partials) remove(e *list.Element) {
	d := t.byAge.Remove(e).(*partial)
	delete(t.byID, d.id)
	if t.bySource[d.source] -= d.held; t.bySource[d.source] <= 0 {
		delete(t.bySource, d.source)
	}
}

package group

import (
	"net/netip"
	"sync"
	"time"

	"l3extract/internal/packet"
)

// Max is how many groups a Member can have: one report of the least IPv6 MTU names
// as many.
const Max = 60

const (
	// unsolicited is within what time the first report is repeated, once
	// (robustness 2): one of the two may be lost.
	unsolicited = time.Second
	// leastGap is the time between two reports at least, leastGapOld that in the words
	// of old versions, which are a packet for each group.
	leastGap    = 200 * time.Millisecond
	leastGapOld = time.Second
	// oldQuerier is how long an older router is remembered: two intervals of its
	// queries and the time to answer one.
	oldQuerier = 2*125*time.Second + 10*time.Second
)

// Config says what a Member is a member of.
type Config struct {
	// Groups are multicast addresses of either family, at most Max.
	Groups []netip.Addr
	// Own4 and Own6 are the host's addresses. MLD needs a link-local one: made of
	// the last half of Own6 if that is none. Default: 0.0.0.0, and fe80::.
	Own4, Own6 netip.Addr
	// Send sends an IP packet. It must not wait; calls do not overlap.
	Send func(raw []byte)
	// AfterFunc calls f after d, and stops that.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	Now       func() time.Time
	Uint32    func() uint32 // random
}

// Member is a host's membership. Its methods may be called at once.
type Member struct {
	cfg Config

	mu     sync.Mutex // over Send, which does not wait
	closed bool
	v4, v6 side
	buf    []byte
}

// side is one family. The Member's mutex guards it.
type side struct {
	groups []netip.Addr
	proto  protocol

	repeat bool      // the first report is to be repeated
	due    time.Time // of the next report; zero if none
	stop   func() bool

	said    time.Time // when there was the last report
	version int       // of the oldest router lately; 0: the newest
	until   time.Time // that it is remembered
}

// protocol is the packets of one family.
type protocol interface {
	// appendReport appends a report about groups; its kind says of what.
	appendReport(b []byte, groups []netip.Addr, kind uint8) []byte
	// appendOld appends what an older version says of one group; nothing if it
	// has no words for it.
	appendOld(b []byte, g netip.Addr, version int, leave bool) []byte
	// query reads what a router asks.
	query(p *packet.Packet) (q query, ok bool)
}

// query is a router's. Which groups it asks about does not matter: an answer about
// all of them answers it.
type query struct {
	version int // 0: the newest
	within  time.Duration
}

// Kinds of records (RFC 9776, 4.2.13; RFC 9777, 5.2.12): no source is excluded, of
// a member, and none included, of who has left.
const (
	isMember = 2
	joins    = 4
	leaves   = 3
)

// New returns a Member that has said nothing yet.
func New(cfg Config) *Member {
	m := &Member{cfg: cfg}
	m.v4.proto, m.v6.proto = igmp{cfg.Own4}, mld{linkLocal(cfg.Own6)}
	for _, g := range cfg.Groups {
		s := m.side(g)
		s.groups = append(s.groups, g)
	}
	return m
}

func (m *Member) side(a netip.Addr) *side {
	if a.Is4() {
		return &m.v4
	}
	return &m.v6
}

// Joined reports whether a is one of the groups.
func (m *Member) Joined(a netip.Addr) bool {
	for _, g := range m.side(a).groups { // never changes; few
		if g == a {
			return true
		}
	}
	return false
}

// Join tells the routers, and again a little later.
func (m *Member) Join() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range []*side{&m.v4, &m.v6} {
		if len(s.groups) > 0 && !m.closed {
			m.say(s, joins)
			s.repeat = true
			m.schedule(s, unsolicited)
		}
	}
}

// Leave tells the routers that the host is in no group any more, once, and ends m.
func (m *Member) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	for _, s := range []*side{&m.v4, &m.v6} {
		if s.stop != nil {
			s.stop()
		}
		if len(s.groups) > 0 {
			m.say(s, leaves)
		}
	}
}

// HandlePacket takes a router's query, whose checksum is right or vouched for, and
// reports whether it was one that concerns m.
func (m *Member) HandlePacket(p *packet.Packet) bool {
	s := m.side(p.Src)
	if len(s.groups) == 0 || p.Fragment || p.TTL != 1 {
		return false // from beyond the link
	}
	q, ok := s.proto.query(p)
	if !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return true
	}
	now := m.cfg.Now()
	if q.version != 0 && (s.version == 0 || q.version <= s.version || now.After(s.until)) {
		s.version, s.until = q.version, now.Add(oldQuerier)
	}
	m.schedule(s, q.within)
	return true
}

// schedule has a report sent at a random time within d, unless one is to be sooner.
func (m *Member) schedule(s *side, d time.Duration) {
	now := m.cfg.Now()
	wait := time.Duration(float64(d)*float64(m.cfg.Uint32())/(1<<32)) + 1
	if !s.said.IsZero() { // whoever asks, and however often, is answered at this rate
		gap := leastGap
		if s.version != 0 {
			gap = leastGapOld
		}
		wait = max(wait, s.said.Add(gap).Sub(now))
	}
	at := now.Add(wait)
	if !s.due.IsZero() && !at.Before(s.due) {
		return
	}
	if s.stop != nil {
		s.stop()
	}
	s.due = at
	s.stop = m.cfg.AfterFunc(wait, func() { m.fire(s, at) })
}

// fire sends the report that was due at that time.
func (m *Member) fire(s *side, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || s.due != at {
		return // another is due instead
	}
	s.due = time.Time{}
	kind := uint8(isMember)
	if s.repeat {
		s.repeat, kind = false, joins
	}
	m.say(s, kind)
}

// say sends what is to be said of all groups, in the words of the oldest router.
func (m *Member) say(s *side, kind uint8) {
	s.said = m.cfg.Now()
	version := s.version
	if version != 0 && m.cfg.Now().After(s.until) {
		version, s.version = 0, 0
	}
	if version == 0 {
		m.buf = s.proto.appendReport(m.buf[:0], s.groups, kind)
		m.cfg.Send(m.buf)
		return
	}
	for _, g := range s.groups {
		m.buf = s.proto.appendOld(m.buf[:0], g, version, kind == leaves)
		if len(m.buf) > 0 {
			m.cfg.Send(m.buf)
		}
	}
}

package l3conntest

import (
	"net/netip"
	"testing"

	"l3extract/l3conn"
)

// InFlight is the number of packets that the suite has under way at most; a
// conn under test must not lose one of so few.
const InFlight = 8

// Open returns the two ends of a fresh link and a function that closes them and
// frees all they hold; it must work after the ends were closed, too. It fails
// the test itself when there is no link.
type Open func(t *testing.T) (a, b l3conn.Conn, stop func())

// Config changes what the suite sends. The zero value is what Test uses.
type Config struct {
	// A and B are the addresses in the packets that a and b write, both IPv4
	// or both IPv6, for links that route. Default: 192.0.2.1 and 192.0.2.2.
	A, B netip.Addr
	// MTU is the largest packet to send where an end does not tell its MTU,
	// in bytes. Default: 1280.
	MTU int
}

// Test runs the suite on links that open makes.
func Test(t *testing.T, open Open) { Config{}.Test(t, open) }

// Test runs the suite on links that open makes.
func (c Config) Test(t *testing.T, open Open) {
	if !c.A.IsValid() {
		c.A, c.B = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	}
	if c.MTU == 0 {
		c.MTU = 1280
	}
	for _, s := range []struct {
		name string
		run  func(l *link)
		// needs says whether a conn has the ability that the subtest is about.
		needs func(from, to l3conn.Caps) bool
	}{
		{"Whole", whole, nil},
		{"Order", order, nil},
		{"ConcurrentWriters", concurrentWriters, nil},
		{"Buffers", buffers, nil},
		{"ShortBuffer", shortBuffer, nil},
		{"TooLong", tooLong, func(from, _ l3conn.Caps) bool { return from.MTUer != nil }},
		{"MTU", mtu, func(from, _ l3conn.Caps) bool { return from.MTUer != nil }},
		{"ReadDeadline", readDeadline, func(_, to l3conn.Caps) bool { return to.ReadDeadliner != nil }},
		{"WriteDeadline", writeDeadline, func(from, _ l3conn.Caps) bool { return from.WriteDeadliner != nil }},
		{"Close", closing, func(_, to l3conn.Caps) bool { return to.Closer != nil }},
		{"BatchRead", batchRead, func(_, to l3conn.Caps) bool { return to.BatchReader != nil }},
		{"BatchWrite", batchWrite, func(from, _ l3conn.Caps) bool { return from.BatchWriter != nil }},
		{"SegmentWhole", bySegments(whole), canSegments},
		{"SegmentBuffers", bySegments(buffers), canSegments},
		{"SegmentShortBuffer", bySegments(shortBuffer), canSegments},
		{"SegmentRead", bySegments(batchRead), func(_, to l3conn.Caps) bool { return to.Offloader != nil }},
		{"SegmentWrite", bySegments(batchWrite), func(from, _ l3conn.Caps) bool { return from.Offloader != nil }},
		{"Leak", leaks, nil},
	} {
		for _, reverse := range []bool{false, true} {
			name := s.name + "/a-to-b"
			if reverse {
				name = s.name + "/b-to-a"
			}
			t.Run(name, func(t *testing.T) {
				l := c.link(t, open, reverse)
				if s.needs == nil || s.needs(l.from, l.to) {
					s.run(l)
				}
			})
		}
	}
}

// link is one direction of a fresh pair.
type link struct {
	t        *testing.T
	cfg      Config
	from, to l3conn.Caps
	src, dst netip.Addr
	mtu      int
	open     Open
	stop     func()
}

func (c Config) link(t *testing.T, open Open, reverse bool) *link {
	t.Helper()
	a, b, stop := open(t)
	t.Cleanup(stop)
	l := &link{t: t, cfg: c, from: l3conn.Probe(a), to: l3conn.Probe(b), src: c.A, dst: c.B, open: open, stop: stop}
	if reverse {
		l.from, l.to, l.src, l.dst = l.to, l.from, l.dst, l.src
	}
	l.mtu = c.MTU
	if m := l.from.MTU(); m > 0 {
		l.mtu = m
	}
	if m := l.to.MTU(); m > 0 {
		l.mtu = min(l.mtu, m)
	}
	return l
}

package udp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/limit"
	"l3extract/l3conn"
)

// Output takes whole IP packets to the packet conn. Neither method waits; b is
// the caller's again on return, and false means that the packet was dropped and
// counted.
type Output interface {
	WriteControl(b []byte) bool  // ICMP
	WriteDatagram(b []byte) bool // UDP
}

// SegmentOutput is an Output that takes datagrams in parts: it need not copy them,
// and the conn may do the rest of the work. An Output that is none is given whole
// packets.
type SegmentOutput interface {
	Output
	// DatagramOffload returns what may be left to the conn: OffloadChecksum,
	// OffloadUDP for runs of datagrams, or none. It does not change.
	DatagramOffload() l3conn.Features
	// WriteDatagramSegment is WriteDatagram for one datagram or one run.
	WriteDatagramSegment(seg *l3conn.Segment) bool
}

// icmpRate is the default of the ICMP errors that one source may cause each second,
// and at once.
const icmpRate = 100

// Env is what package stack gives to a Table; nobody else can make one. Fields
// with a default may be left zero.
type Env struct {
	Out   Output
	Flows *flow.Registry
	Drops *drop.Counters

	// MTU is the size of the largest packet that the conn carries.
	MTU int
	// Addrs are the stack's own addresses, on which Listen and Dial work.
	Addrs []netip.Addr
	// ToMany tells multicast and broadcast addresses. Default: those that can be told
	// without a netmask.
	ToMany func(netip.Addr) bool
	// Joined tells multicast addresses whose datagrams are taken whatever
	// Config.Multicast says. Default: none.
	Joined func(netip.Addr) bool
	// Budget bounds the memory of the whole stack. Default: unlimited.
	Budget *budget.Budget
	// SourceKey tells sources apart. Default: /32 and /64.
	SourceKey func(netip.Addr) netip.Prefix
	// AllowICMP is asked before an ICMP error is sent to an address: the rate
	// limit. A refusal is counted by the Table. Default: 100 a second for each
	// source.
	AllowICMP func(to netip.Addr) bool

	// Now and AfterFunc are the clock of idle timeouts. The function that
	// AfterFunc returns stops the call and tells whether it did. Deadlines keep
	// to the system's clock, as in package net. Default: the system's.
	Now       func() time.Time
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Uint32 returns random numbers for ports and fragment IDs. Default: the
	// runtime's.
	Uint32 func() uint32
}

func (e Env) defaults() Env {
	if e.MTU <= 0 {
		e.MTU = 1500
	}
	if e.SourceKey == nil {
		e.SourceKey = limit.DefaultKey
	}
	if e.ToMany == nil {
		e.ToMany = func(a netip.Addr) bool { return a.IsMulticast() || a == broadcast }
	}
	if e.Joined == nil {
		e.Joined = func(netip.Addr) bool { return false }
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.AfterFunc == nil {
		e.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if e.Uint32 == nil {
		e.Uint32 = rand.Uint32
	}
	return e
}

// own tells whether a is one of the stack's addresses.
func (e *Env) own(a netip.Addr) bool { return slices.Contains(e.Addrs, a) }

// ownFor returns the stack's first address of the family of peer.
func (e *Env) ownFor(peer netip.Addr) (netip.Addr, bool) {
	for _, a := range e.Addrs {
		if a.Is4() == peer.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

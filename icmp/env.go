package icmp

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
)

// DefaultQueue is how many echoes wait in an Acceptor unless configured otherwise.
const DefaultQueue = 128

// Echoes that one source may send to the Acceptor each second, and at once.
const (
	echoRate  = 1000
	echoBurst = 256
)

// Output takes whole IP packets to the packet conn. WriteControl does not wait; b is
// the caller's again on return, and false means that the packet was dropped and
// counted.
type Output interface {
	WriteControl(b []byte) bool
}

// Env is what package stack gives to an Acceptor; nobody else can make one. Fields
// with a default may be left zero.
type Env struct {
	Out   Output
	Drops *drop.Counters

	// Budget bounds the memory of the whole stack. Default: unlimited.
	Budget *budget.Budget
	// Queue is the length of the queue. Default: DefaultQueue.
	Queue int
	// MTU is the size of the largest packet that the conn carries. Default: 1500.
	MTU int
	// Source returns the stack's own address from which it reports to a client, or
	// zero if it has none of that family. Default: it has none.
	Source func(client netip.Addr) netip.Addr
	// SourceKey tells sources apart. Default: /32 and /64.
	SourceKey func(netip.Addr) netip.Prefix
	// AllowError is asked before an ICMP error is sent to an address: the rate limit. A
	// refusal is counted by the Acceptor. Default: all may be sent.
	AllowError func(to netip.Addr) bool
	// Now is the clock of the rate. Default: the system's.
	Now func() time.Time
	// Uint32 returns random numbers for fragment IDs. Default: the runtime's.
	Uint32 func() uint32
}

func (e Env) defaults() Env {
	if e.Queue <= 0 {
		e.Queue = DefaultQueue
	}
	if e.MTU <= 0 {
		e.MTU = 1500
	}
	if e.Source == nil {
		e.Source = func(netip.Addr) netip.Addr { return netip.Addr{} }
	}
	if e.Budget == nil {
		e.Budget = budget.New(0)
	}
	if e.AllowError == nil {
		e.AllowError = func(netip.Addr) bool { return true }
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Uint32 == nil {
		e.Uint32 = rand.Uint32
	}
	return e
}

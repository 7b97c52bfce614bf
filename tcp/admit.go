package tcp

import (
	"fmt"
	"net/netip"

	"l3extract/internal/drop"
	"l3extract/internal/limit"
	"l3extract/internal/packet"
)

// Verdict is what Config.Admit decides about a SYN.
type Verdict uint8

// The verdicts.
const (
	Accept Verdict = iota // let it in, as far as the limits allow
	Refuse                // answer with RST: the client sees "connection refused"
	Drop                  // no answer: the client waits
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Refuse:
		return "refuse"
	case Drop:
		return "drop"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// admit takes a new SYN in, or refuses it; false says that nobody listens, and
// that nothing was done. It runs on the goroutine that reads the conn and never
// waits.
func (a *Acceptor) admit(p *packet.Packet) bool {
	t := a.table
	if !a.asked.Load() || a.ended() != nil {
		return false
	}
	if len(p.Raw) > maxSYN {
		return t.refuse(p, drop.SYNTooLong, silence)
	}
	src, dst := p.SrcAddrPort(), p.DstAddrPort()
	if t.cfg.Admit != nil {
		switch t.cfg.Admit(src, dst) {
		case Accept:
		case Refuse:
			return t.refuse(p, drop.AdmitRefused, reset)
		default:
			return t.refuse(p, drop.AdmitDropped, silence)
		}
	}
	if _, ok := t.env.Budget.Start(); !ok { // for a moment, until flows have been ended
		return t.refuse(p, drop.MemoryLimit, silence)
	}
	if cause, how := a.reserve(src.Addr(), dst); cause != drop.None {
		return t.refuse(p, cause, how)
	}
	r := t.syns.add(a, p)
	if r == nil {
		a.release(src.Addr(), dst) // another reader was faster, or the stack has ended
		return true
	}
	if a.lazy {
		a.offer(r)
		return true
	}
	a.complete(r)
	return true
}

// reserve takes the places that a request holds, or none and says why. Limits
// that retransmission can outlast are silent, the others say so to the client.
func (a *Acceptor) reserve(src netip.Addr, dst netip.AddrPort) (drop.Cause, answer) {
	t := a.table.syns
	if a.places.Acquire(src, dst) != limit.OK {
		return drop.SYNQueueFull, silence
	}
	switch t.handshakes.Acquire(src, dst) {
	case limit.Total:
		a.places.Release(src, dst)
		return drop.SYNLimitGlobal, silence
	case limit.Source:
		a.places.Release(src, dst)
		return drop.SYNLimitSource, silence
	case limit.Destination:
		a.places.Release(src, dst)
		return drop.SYNLimitDestination, silence
	}
	cause := drop.None
	switch t.streams.Acquire(src, dst) {
	case limit.Total:
		cause = drop.StreamLimitGlobal
	case limit.Source:
		cause = drop.StreamLimitSource
	case limit.Destination:
		cause = drop.StreamLimitDestination
	}
	if cause != drop.None {
		a.places.Release(src, dst)
		t.handshakes.Release(src, dst)
	}
	return cause, reset
}

// release gives back what reserve took.
func (a *Acceptor) release(src netip.Addr, dst netip.AddrPort) {
	a.places.Release(src, dst)
	a.table.syns.handshakes.Release(src, dst)
	a.table.syns.streams.Release(src, dst)
}

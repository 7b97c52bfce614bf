package datagram

import (
	"errors"
	"sync/atomic"
	"syscall"

	"l3extract/l3conn"
)

// Stats are the counters of a Conn since it was made.
type Stats struct {
	// PacketsIn and PacketsOut count packets, BytesIn and BytesOut their bytes,
	// CallsIn and CallsOut the system calls, or those of the socket, that moved them.
	PacketsIn, BytesIn, CallsIn, PacketsOut, BytesOut, CallsOut uint64
	// RunsIn and RunsOut count messages of several packets (UDP_GRO, UDP_SEGMENT).
	RunsIn, RunsOut uint64
	// Strangers were not from the peer. Roamed counts the peer's changes of address.
	Strangers, Roamed uint64
	// Short were read and longer than the caller's buffer, or than a packet can be;
	// TooLong were to be written and longer than the MTU or the path's.
	Short, TooLong uint64
	// NoPeer were written before there was a peer.
	NoPeer uint64
	// Refused counts that nobody listened at the peer's address, Unreachable that
	// there was no way to it, NoBuffers that the system had no room, Denied that its
	// packet filter said no.
	Refused, Unreachable, NoBuffers, Denied uint64
}

type counters struct {
	packetsIn, bytesIn, callsIn, runsIn, strangers, roamed, short atomic.Uint64
	_                                                             [64]byte // who reads and who writes share no cache line
	packetsOut, bytesOut, callsOut, runsOut, tooLong, noPeer      atomic.Uint64
	refused, unreachable, noBuffers, denied                       atomic.Uint64
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	n := &c.counters
	return Stats{
		PacketsIn: n.packetsIn.Load(), BytesIn: n.bytesIn.Load(), CallsIn: n.callsIn.Load(),
		PacketsOut: n.packetsOut.Load(), BytesOut: n.bytesOut.Load(), CallsOut: n.callsOut.Load(),
		RunsIn: n.runsIn.Load(), RunsOut: n.runsOut.Load(),
		Strangers: n.strangers.Load(), Roamed: n.roamed.Load(),
		Short: n.short.Load(), TooLong: n.tooLong.Load(), NoPeer: n.noPeer.Load(),
		Refused: n.refused.Load(), Unreachable: n.unreachable.Load(),
		NoBuffers: n.noBuffers.Load(), Denied: n.denied.Load(),
	}
}

func (n *counters) took(packets, bytes int) {
	n.callsIn.Add(1)
	n.packetsIn.Add(uint64(packets))
	n.bytesIn.Add(uint64(bytes))
}

func (n *counters) sent(packets, bytes int) {
	n.callsOut.Add(1)
	n.packetsOut.Add(uint64(packets))
	n.bytesOut.Add(uint64(bytes))
}

// fault returns the counter of an error that passes, and what a Write says of it; nil
// for one that does not pass.
func (n *counters) fault(err error, writing bool) (*atomic.Uint64, error) {
	if err == nil {
		return nil, nil
	}
	if err == errNoPeer {
		return &n.noPeer, l3conn.ErrDown
	}
	is := func(errnos []syscall.Errno) bool {
		for _, e := range errnos {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case is(refused):
		return &n.refused, l3conn.ErrDown
	case is(unreachable):
		return &n.unreachable, l3conn.ErrDown
	case is(noBuffers):
		return &n.noBuffers, l3conn.ErrNoBuffers
	case is(denied):
		return &n.denied, l3conn.ErrDown
	case is(tooLong) && writing:
		return &n.tooLong, l3conn.ErrTooLong
	case is(tooLong):
		return &n.short, l3conn.ErrShortBuffer
	}
	return nil, nil
}

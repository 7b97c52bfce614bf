package direct

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// inFlight are the sockets that are being connected by the Dialers of this process: for a
// connection that comes back it does not matter by which, nor on whose behalf.
var inFlight struct {
	calls atomic.Int64 // of DialContext

	mu sync.Mutex // a leaf
	to map[netip.AddrPort][]*flight
}

// flight is a socket being connected.
type flight struct {
	to netip.AddrPort
	c  syscall.RawConn
}

// Dialing reports whether a DialContext of this process is connecting a socket with the
// local address src to dst: then a connection from src to dst that somebody else sees is
// ours. What Connect has begun its caller knows. It may be called at once, and costs
// nothing while nobody dials.
func Dialing(src, dst netip.AddrPort) bool {
	if inFlight.calls.Load() == 0 {
		return false
	}
	inFlight.mu.Lock()
	flights := slices.Clone(inFlight.to[dst])
	inFlight.mu.Unlock()
	return slices.ContainsFunc(flights, func(f *flight) bool { return localAddr(f.c) == src })
}

// call is one DialContext, which may connect several sockets at once.
type call struct {
	mu      sync.Mutex // before inFlight's
	over    bool
	flights []*flight
}

// begin says that a call has begun.
func (c *call) begin() { inFlight.calls.Add(1) }

// add notes a socket that is about to be connected.
func (c *call) add(network, address string, raw syscall.RawConn) {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !strings.HasPrefix(network, "tcp") {
		return
	}
	f := &flight{to: netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port()), c: raw}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return // one of the sockets that come too late
	}
	c.flights = append(c.flights, f)
	inFlight.mu.Lock()
	defer inFlight.mu.Unlock()
	if inFlight.to == nil {
		inFlight.to = make(map[netip.AddrPort][]*flight)
	}
	inFlight.to[f.to] = append(inFlight.to[f.to], f)
}

// end forgets the sockets of the call.
func (c *call) end() {
	inFlight.calls.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	inFlight.mu.Lock()
	defer inFlight.mu.Unlock()
	for _, f := range c.flights {
		left := slices.DeleteFunc(inFlight.to[f.to], func(g *flight) bool { return g == f })
		if len(left) == 0 {
			delete(inFlight.to, f.to)
		} else {
			inFlight.to[f.to] = left
		}
	}
}

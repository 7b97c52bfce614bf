package forward

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"l3extract/adapters/internal/hop"
	"l3extract/stack"
)

// lostVia is what EndVia was given last. Sockets of datagrams compare it with what they
// have seen.
type lostVia struct {
	lost func(local netip.Addr, index int) bool
}

// EndVia ends every TCP flow whose upstream lost reports, with cause path lost, also one
// that is being dialled by a socket of this host. Datagrams and pings get new upstream sockets in
// place of those that lost reports when the next one is sent: their clients notice a new
// address at most. It returns how many TCP flows it has ended.
//
// Lost is asked with the local address of an upstream, which is the unspecified one for
// most sockets of datagrams and not valid where it is not known, and the index of the
// interface that it is bound to, 0 for none or where that is not known. It must not
// block, may be called at once, and is called for sockets of datagrams later, as it is
// until EndVia is called again: netwatch.Monitor.Lost is made for it.
func (f *Server) EndVia(lost func(local netip.Addr, index int) bool) int {
	via := &lostVia{lost}
	n := 0
	for _, s := range f.sessions() {
		s.lost.Store(via)
		for _, e := range s.all() {
			if t, ok := e.(viaer); ok && t.endVia(lost) {
				n++
			}
		}
	}
	return n
}

// viaer is a flow that ends when its way out is lost.
type viaer interface {
	// endVia ends the flow if lost reports its upstream, and returns whether it did.
	endVia(lost func(local netip.Addr, index int) bool) bool
}

// errPathLost is the error of a dial whose way out is lost.
var errPathLost = fmt.Errorf("%w: %w", stack.PathLost, syscall.ENETUNREACH)

// sessions returns those that serve.
func (f *Server) sessions() []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.serving)
}

// enlist makes n known to EndVia and SetLimits until the function it returns is called.
func (f *Server) enlist(n *session) (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serving = append(f.serving, n)
	n.dials.table.SetConfig(f.dialLimitsLocked()) // they may have changed since n was made
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.serving = slices.DeleteFunc(f.serving, func(s *session) bool { return s == n })
	}
}

// endVia implements viaer.
func (r *relay) endVia(lost func(local netip.Addr, index int) bool) bool {
	if !lost(hop.Via(r.up)) {
		return false
	}
	r.stop(stack.PathLost)
	return true
}

// rebind gives up the upstream sockets that are dead or have lost their way, and is called
// by who owns s, before a datagram is sent.
func (s *socket) rebind() {
	if int(s.living.Load()) < len(s.outlets) {
		s.giveUp(func(o *outlet) bool { return o.dead.Load() })
	}
	via := s.session.lost.Load()
	if via == s.seen {
		return
	}
	s.seen = via
	s.giveUp(func(o *outlet) bool { return via.lost(o.via()) || o.carriers.lost(via.lost) })
}

// giveUp closes those upstream sockets for which give is true, while s lives on.
func (s *socket) giveUp(give func(*outlet) bool) {
	s.outlets = slices.DeleteFunc(s.outlets, func(o *outlet) bool {
		if !give(o) {
			return false
		}
		o.gone.Store(true)
		s.bury(o)
		s.forget(o)
		if o.up != nil {
			s.closeOutlet(o)
		} else {
			s.inward.Go(func() { s.closeOutlet(o) }) // an outbound's may wait; awaited by finish
		}
		return true
	})
}

// forget has datagrams that went by o look for another socket.
func (s *socket) forget(o *outlet) {
	if s.way != nil && s.way.outlet == o {
		s.way.outlet = nil
	}
	for _, w := range s.ways {
		if w.outlet == o {
			w.outlet = nil
		}
	}
}

// via says by what o leaves.
func (o *outlet) via() (local netip.Addr, index int) {
	if o.up != nil {
		return o.up.via()
	}
	return hop.Via(o.conn)
}

// rebind gives up the sockets of pings that have lost their way. It belongs to the
// goroutine of run.
func (p *pinger) rebind() {
	via := p.session.lost.Load()
	if via == p.seen {
		return
	}
	p.seen = via
	for key, o := range p.sockets {
		if o.socket != nil && via.lost(o.socket.via()) {
			o.socket.close() // its reader ends
			delete(p.sockets, key)
		}
	}
}

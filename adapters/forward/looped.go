package forward

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"l3extract/adapters/direct"
	"l3extract/stack"
)

// Where the host's own routes lead into the tunnel, and neither a mark nor an interface
// keeps our own sockets out of it, what is dialled for a client comes back as a client's
// next connection, and that as one more. Its source is then the local address of a socket
// of ours, and the first thing to be seen is a second connection to one destination while
// the first is still being dialled: only then is anything looked for.

// errLooped tells our own dial that it goes nowhere: no client is to believe that a port
// is closed.
var errLooped = fmt.Errorf("%w: %w", stack.Loop, syscall.EHOSTUNREACH)

// cameBack tells whether a connection from src to dst is one that is dialled here.
func (n *session) cameBack(src, dst netip.AddrPort) bool {
	return n.loop != nil && n.loop.connects(src, dst) || direct.Dialing(src, dst)
}

// looped counts what came back, and says from time to time what to do about it.
func (n *session) looped(network string, src, dst netip.AddrPort) {
	n.stats.looped.Add(1)
	now := time.Now().UnixNano()
	if last := n.loopTold.Load(); last != 0 && now-last < int64(loopSilence) || !n.loopTold.CompareAndSwap(last, now) {
		return
	}
	n.log.Warn("a loop: what is dialled here comes back through the tunnel; "+
		"keep it out by a mark that a routing rule exempts (-fwmark) or by an interface (-interface)",
		"network", network, "source", src, "destination", dst, "so far", n.stats.looped.Load())
}

// loopSilence is how long nothing more is said of loops.
const loopSilence = 10 * time.Second

// ports are the local ports of upstream sockets for datagrams that this host sends to
// their destinations itself.
type ports struct {
	mu    sync.Mutex // a leaf
	of    map[localPort]*socket
	own   map[netip.Addr]bool // addresses of the host
	asked time.Time           // when
}

type localPort struct {
	port uint16
	six  bool
}

// add notes that p belongs to s.
func (t *ports) add(p localPort, s *socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = make(map[localPort]*socket)
	}
	t.of[p] = s
}

// remove undoes add.
func (t *ports) remove(p localPort, s *socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[p] == s {
		delete(t.of, p)
	}
}

// owner returns whose the port is if src can be it, else nil.
func (t *ports) owner(src netip.AddrPort) *socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of[localPort{src.Port(), src.Addr().Is6()}]
	if s == nil || !t.hostsLocked(src.Addr()) {
		return nil
	}
	return s
}

// hostsLocked tells whether the host has the address a: that the port is one of ours may
// be chance.
func (t *ports) hostsLocked(a netip.Addr) bool {
	if t.own == nil || time.Since(t.asked) > time.Second {
		t.asked = time.Now()
		t.own = make(map[netip.Addr]bool)
		addrs, _ := net.InterfaceAddrs() // without them no loop is found
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				t.own[p.Addr().Unmap()] = true
			}
		}
	}
	return t.own[a]
}

// looped tells whether a datagram of s from src to dst is one that was sent here: by a
// socket of ours that sends there.
func (s *socket) looped(src, dst netip.AddrPort) bool {
	owner := s.session.ports.owner(src)
	return owner != nil && owner != s && owner.hasAsked(dst)
}

// listed has the port of o known as one of s.
func (s *socket) listed(o *outlet, local net.Addr) {
	if !isDirect(o.listener(s.session)) {
		return
	}
	o.port = localPort{originOf(local).addr.Port(), o.key.six}
	if o.port.port != 0 {
		s.session.ports.add(o.port, s)
	}
}

// closeOutlet closes o, which is s's.
func (s *socket) closeOutlet(o *outlet) {
	if o.port.port != 0 {
		s.session.ports.remove(o.port, s)
	}
	o.close()
}

// listener returns who opened o.
func (o *outlet) listener(n *session) PacketListener {
	if o.key.by != nil {
		return o.key.by
	}
	return n.packets
}

package udp

import (
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	// firstPort is the first of the ports that are chosen for Listen and Dial; the
	// last is 65535. A range twice that of RFC 6335 makes answers to DNS queries
	// harder to guess (RFC 6056).
	firstPort = 32768

	// afterlife is how long an answer to a Socket that was dialled and closed is
	// told from a client's first datagram: longer than resolvers wait.
	afterlife = int64(time.Minute)
	// maxGone bounds how many such Sockets are remembered.
	maxGone = 4096
)

// own holds the Sockets of Listen and Dial. The table's mutex guards it.
type own struct {
	count int
	// byPort holds all of them by their local port, to find conflicts.
	byPort map[uint16][]*Socket
	// listeners is by local end; its address is unspecified for all of a family
	// and invalid for all of both.
	listeners map[netip.AddrPort]*Socket
	dials     map[key]*Socket
	// gone remembers until when answers to ended dials may come.
	gone map[key]int64
}

func (o *own) init() {
	o.byPort = make(map[uint16][]*Socket)
	o.listeners = make(map[netip.AddrPort]*Socket)
	o.dials = make(map[key]*Socket)
	o.gone = make(map[key]int64)
}

// find returns the Socket for a datagram from peer to local, or nil.
func (o *own) find(env *Env, peer, local netip.AddrPort) *Socket {
	if len(o.dials) > 0 {
		if s := o.dials[keyOf(PerFlow, peer, local)]; s != nil {
			return s
		}
	}
	if len(o.listeners) == 0 {
		return nil
	}
	if s := o.listeners[local]; s != nil {
		return s
	}
	a := local.Addr()
	if !env.own(a) && !env.ToMany(a) {
		return nil
	}
	all := netip.IPv6Unspecified()
	if a.Is4() {
		all = netip.IPv4Unspecified()
	}
	if s := o.listeners[netip.AddrPortFrom(all, local.Port())]; s != nil {
		return s
	}
	return o.listeners[netip.AddrPortFrom(netip.Addr{}, local.Port())]
}

// late tells whether a datagram answers a dial that has ended.
func (o *own) late(peer, local netip.AddrPort, now int64) bool {
	if len(o.gone) == 0 {
		return false
	}
	k := keyOf(PerFlow, peer, local)
	until, ok := o.gone[k]
	if ok && now > until {
		delete(o.gone, k)
		return false
	}
	return ok
}

// bind gives s, whose local end may lack a port, its place; random chooses it.
func (o *own) bind(s *Socket, random uint32) error {
	if s.local.Port() == 0 {
		port, ok := o.freePort(random)
		if !ok {
			return syscall.EADDRNOTAVAIL
		}
		s.local = netip.AddrPortFrom(s.local.Addr(), port)
	}
	port := s.local.Port()
	for _, other := range o.byPort[port] {
		if overlap(s.local.Addr(), other.local.Addr()) {
			return syscall.EADDRINUSE
		}
	}
	o.byPort[port] = append(o.byPort[port], s)
	o.count++
	if s.kind == dialled {
		o.dials[keyOf(PerFlow, s.peer, s.local)] = s
	} else {
		o.listeners[s.local] = s
	}
	return nil
}

// freePort returns the first port from a random one on that nobody uses.
func (o *own) freePort(random uint32) (uint16, bool) {
	const n = 1<<16 - firstPort
	for i := range uint32(n) {
		port := uint16(firstPort + (random%n+i)%n)
		if len(o.byPort[port]) == 0 {
			return port, true
		}
	}
	return 0, false
}

// remove takes s out.
func (o *own) remove(s *Socket, now int64) {
	port := s.local.Port()
	left := slices.DeleteFunc(o.byPort[port], func(x *Socket) bool { return x == s })
	o.byPort[port] = left
	if len(left) == 0 {
		delete(o.byPort, port)
	}
	o.count--
	if s.kind != dialled {
		delete(o.listeners, s.local)
		return
	}
	k := keyOf(PerFlow, s.peer, s.local)
	delete(o.dials, k)
	if len(o.gone) >= maxGone {
		for old := range o.gone { // any one: that it answers late is unlikely
			delete(o.gone, old)
			break
		}
	}
	o.gone[k] = now + afterlife
}

func (o *own) appendAll(all []*Socket) []*Socket {
	for _, socks := range o.byPort {
		all = append(all, socks...)
	}
	return all
}

// overlap tells whether a datagram could be for both addresses.
func overlap(a, b netip.Addr) bool {
	if !a.IsValid() || !b.IsValid() {
		return true
	}
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

package forward

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/stack"
	"l3extract/udp"
)

// way is where a Socket's datagrams to one destination go.
type way struct {
	dst     netip.AddrPort // the destination, as the client calls it
	why     error          // nowhere, because of this
	handler outbound.PacketHandler
	reply   func(p []byte) // of handler

	target  netip.AddrPort // zero for one with a name that is not resolved here, or not yet
	port    uint16         // of the target
	host    string         // name of a target that is still to be resolved here
	addr    net.Addr       // an outbound.Name that the outbound resolves; nil for other targets
	trusted bool

	listener PacketListener
	key      outletKey
	outlet   *outlet // nil: to be found or opened
}

// maxWays bounds the ways that a Socket remembers. Any goes when there are more: its
// destination is looked up again.
const maxWays = 64

// lookUp finds out where datagrams to dst go, if the last one went elsewhere. It waits
// if Route does.
func (s *socket) lookUp(ctx context.Context, src, dst netip.AddrPort) {
	if s.recall(dst) {
		return
	}
	before := s.way
	s.turn(s.find(ctx, outbound.Flow{Network: "udp", Source: src, Destination: dst}))
	if before != nil {
		s.remember(before)
		s.remember(s.way)
	}
}

// remember keeps w, unless it leads nowhere: that may change.
func (s *socket) remember(w *way) {
	if w.why != nil {
		return
	}
	if s.ways == nil {
		s.ways = make(map[netip.AddrPort]*way)
	}
	for old := range s.ways {
		if len(s.ways) < maxWays {
			break
		}
		delete(s.ways, old)
	}
	s.ways[w.dst] = w
}

// recall is lookUp for what the Socket remembers.
func (s *socket) recall(dst netip.AddrPort) bool {
	if s.way != nil && s.way.dst == dst {
		return true
	}
	w := s.ways[dst]
	if w == nil {
		return false
	}
	s.turn(w)
	if w.target.Addr().IsValid() {
		s.name(w.target, dst) // asked again
	}
	return true
}

// turn makes w the way of the next datagram.
func (s *socket) turn(w *way) {
	s.turns++
	if s.way != nil && s.way.outlet != nil {
		s.way.outlet.used = s.turns
	}
	s.way = w
}

// find asks where f goes.
func (s *socket) find(ctx context.Context, f outbound.Flow) *way {
	n := s.session
	w := &way{dst: f.Destination}
	if s.looped(f.Source, f.Destination) {
		n.looped("udp", f.Source, f.Destination)
		w.why = errLooped
		return w
	}
	t, err := n.routeSocket(ctx, f)
	if err != nil {
		w.why = err
		return w
	}
	if t.Handler != nil {
		w.handler = t.Handler
		w.reply = func(p []byte) { s.give(udp.Msg{Payload: p, Source: w.dst}) }
		return w
	}
	var own bool
	w.listener, own = n.packetListener(&t)
	if w.why = n.judgeWay(&t, w.listener, own); w.why != nil {
		return w
	}
	w.port, w.trusted = t.Addr.Port(), t.Trusted
	w.key.six = !t.Addr.Addr().Is4()
	if !own {
		w.key.by = w.listener
	}
	switch {
	case t.Host == "":
		w.target = t.Addr
		s.name(w.target, w.dst)
	case isDirect(w.listener):
		w.host = t.Host
	default:
		w.addr = outbound.Name{Host: t.Host, Port: w.port}
	}
	return w
}

// routeSocket is route for a datagram.
func (n *session) routeSocket(ctx context.Context, f outbound.Flow) (Target, error) {
	if n.routesAtOnce() {
		return n.route(ctx, f)
	}
	ctx, cancel := n.flowContext(ctx, f)
	defer cancel()
	return n.route(ctx, f)
}

// judgeWay says why datagrams do not go to t by l.
func (n *session) judgeWay(t *Target, l PacketListener, own bool) error {
	switch {
	case l == nil:
		return errNoPackets
	case !own && !canCompare(l):
		return fmt.Errorf("%w: %T", errIncomparable, l)
	case t.Trusted:
		return nil
	case t.Host == "":
		return n.judge(t.Addr.Addr())
	case !n.srv.Policy.AllowLoopback && loopbackName(t.Host):
		return &PolicyError{Why: "loopback, as " + t.Host}
	}
	return nil
}

var (
	errNoPackets    = fmt.Errorf("forward: the Dialer is no PacketListener and there is no other: %w", syscall.EACCES)
	errIncomparable = fmt.Errorf("forward: a Target's PacketListener cannot be compared: %w", syscall.EACCES)
	errNoNames      = fmt.Errorf("forward: the outbound sends to no names: %w", syscall.EHOSTUNREACH)
)

// resolve finds the address of a target by whose name this host sends, as a dial does: the
// first that the Policy allows, best of the destination's family.
func (s *socket) resolve(ctx context.Context, w *way) error {
	r := net.DefaultResolver
	if d, ok := w.listener.(*direct.Dialer); ok && d.Resolver != nil {
		r = d.Resolver
	}
	all, err := r.LookupNetIP(ctx, "ip", w.host)
	for _, same := range []bool{true, false} {
		for _, a := range all {
			a = a.Unmap().WithZone("")
			if (a.Is4() == w.dst.Addr().Is4()) != same {
				continue
			}
			if !w.trusted {
				if err = s.session.judge(a); err != nil {
					continue
				}
			}
			w.target = netip.AddrPortFrom(a, w.port)
			w.key.six = a.Is6()
			w.host = ""
			s.name(w.target, w.dst)
			return nil
		}
	}
	return err
}

// maxOutlets bounds the upstream sockets of a Socket. It needs more than one only where
// its destinations go by several outbounds, or to several names on one port. The one that
// was used least recently makes room.
const maxOutlets = 16

// reach finds or opens the upstream socket of the way. It may wait.
func (s *socket) reach(ctx context.Context, m udp.Msg) error {
	w := s.way
	if w.outlet != nil {
		return nil
	}
	f := outbound.Flow{Network: "udp", Source: m.Source, Destination: m.Destination}
	if !isDirect(w.listener) || w.host != "" {
		var cancel context.CancelFunc
		ctx, cancel = s.session.flowContext(ctx, f)
		defer cancel()
		defer context.AfterFunc(s.sock.Context(), cancel)()
	} else {
		ctx = outbound.WithFlow(ctx, f)
	}
	if w.host != "" {
		if err := s.resolve(ctx, w); err != nil {
			return fmt.Errorf("%w: %w", stack.DialFailed, err)
		}
	}
	if w.outlet = s.outletFor(w); w.outlet == nil {
		o, err := s.open(ctx, w, m)
		if err != nil {
			return err
		}
		w.outlet = o
	}
	if w.addr != nil {
		s.mu.Lock()
		w.outlet.name(w)
		s.mu.Unlock()
	}
	return nil
}

// outletFor returns the upstream socket that does for w, if it is open. What answers for a
// name is known by its port alone, so each socket has one name for a port at most.
func (s *socket) outletFor(w *way) *outlet {
	taken := func(v *way) bool { return v.port == w.port && v.dst != w.dst }
	for _, o := range s.outlets {
		if o.key == w.key && (w.addr == nil || !slices.ContainsFunc(o.named, taken)) {
			return o
		}
	}
	return nil
}

// open opens an upstream socket for w.
func (s *socket) open(ctx context.Context, w *way, m udp.Msg) (*outlet, error) {
	network := "udp4"
	if w.key.six {
		network = "udp6"
	}
	n := s.session
	o := &outlet{key: w.key}
	if !isDirect(w.listener) {
		ctx = outbound.WithSocket(ctx, o.carriers.add)
	}
	began := time.Now()
	pc, err := w.listener.ListenPacket(ctx, network, ":0")
	if n.srv.OnDial != nil {
		d := Dial{
			ID: s.sock.ID(), Network: "udp", Source: m.Source, Destination: m.Destination,
			Took: time.Since(began), Err: err,
		}
		if err == nil {
			d.Address = pc.LocalAddr().String()
		}
		n.srv.OnDial(d)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", stack.DialFailed, err)
	}
	if len(s.outlets) == maxOutlets {
		n.stats.outletsOver.Add(1)
		oldest := slices.MinFunc(s.outlets, func(a, b *outlet) int { return cmp.Compare(a.used, b.used) })
		s.giveUp(func(o *outlet) bool { return o == oldest })
	}
	o.use(pc)
	s.living.Add(1)
	s.listed(o, pc.LocalAddr())
	if !s.adopt(o) {
		s.inward.Go(func() { s.inwards(o) }) // awaited by finish, which closes o
	}
	s.outlets = append(s.outlets, o)
	return o, nil
}

package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"l3extract/adapters/outbound"
	"l3extract/icmp"
	"l3extract/stack"
	"l3extract/udp"
)

// socket joins one Socket of the stack with its upstream. A goroutine sends what
// the client says; it opens the upstream socket. If that is a *net.UDPConn on Linux
// the goroutine is needed no longer: see evented. For any other, another goroutine
// brings what upstream says.
type socket struct {
	evented
	session *session
	sock    *udp.Socket
	served  bool // a datagram was sent on, or would have been with room for it

	way  *way                    // the last datagram's: a conversation mostly goes on with the same
	ways map[netip.AddrPort]*way // by destination; nil while there was one only

	turns uint64 // changes of way

	seen    *lostVia  // what the outlets have been asked about
	outlets []*outlet // opened when they are first needed
	inward  sync.WaitGroup
	living  atomic.Int32 // of the outlets, those that are not dead

	mu    sync.Mutex // a leaf
	asked targets
	names map[netip.AddrPort]netip.AddrPort // what the client calls a target, where that differs; nil if nowhere
}

// maxNames bounds the names of a socket, and those of an outlet. Any goes when there are
// more, or the oldest: its target answers under its own address then.
const maxNames = 256

// buffer holds any datagram. buffers never leave this package.
type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// acceptedSocket serves sock until it ends, which its idle timeout sees to.
func (n *session) acceptedSocket(ctx context.Context, sock *udp.Socket) {
	s := &socket{session: n, sock: sock}
	if n.refusesSocket(sock) {
		return
	}
	n.stats.sockets.Add(1)
	n.add(s)
	if n.routesAtOnce() && s.begin(ctx) {
		return
	}
	n.flows.Go(func() { s.serve(ctx) }) // as many as the stack's limits on sockets allow
}

// refusesSocket ends a Socket that cannot be served.
func (n *session) refusesSocket(sock *udp.Socket) bool {
	if sock.Mapping() != udp.PerDestination {
		return false
	}
	n.log.Warn("sockets mapped PerDestination cannot be forwarded", "destination", sock.Destination())
	_ = sock.Reject(syscall.ECONNREFUSED) // fails for one that has ended, which is as well
	return true
}

// serve serves the Socket until it ends or needs no goroutine.
func (s *socket) serve(ctx context.Context) {
	for s.sock.Wait() == nil {
		s.outward(ctx)
		if s.letGo(ctx) {
			return
		}
	}
	s.finish()
}

// finish ends what belongs to a Socket that has ended.
func (s *socket) finish() {
	n := s.session
	n.remove(s)
	for _, o := range s.outlets {
		s.closeOutlet(o)
	}
	s.inward.Wait()
	n.stats.sockets.Add(-1)
}

// stop implements ender.
func (s *socket) stop(cause error) { s.sock.Kill(cause) }

// outward sends one datagram of the client on, which is there to be read.
func (s *socket) outward(ctx context.Context) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	m, err := s.sock.ReadMsg(b[:])
	if err != nil {
		return // an ICMP error from the client, or the end
	}
	s.rebind()
	s.lookUp(ctx, m.Source, m.Destination)
	s.pass(ctx, m)
}

// pass sends m on by its way, or tells the client why not. It opens the upstream socket,
// if need be.
func (s *socket) pass(ctx context.Context, m udp.Msg) {
	w := s.way
	switch {
	case w.why != nil:
		if errors.Is(w.why, stack.Policy) {
			s.session.stats.policyDatagrams.Add(1)
		}
		s.refuse(m, w.why)
		return
	case w.handler != nil:
		s.handle(m.Source, m.Payload)
		return
	}
	err := s.reach(ctx, m)
	if err == nil {
		err = s.send(w, m)
	}
	if err != nil {
		s.lost(m, err)
		return
	}
	s.served = true
	s.session.stats.datagramsOut.Add(1)
}

// send sends m by w, whose outlet is there.
func (s *socket) send(w *way, m udp.Msg) error {
	o := w.outlet
	if w.addr != nil {
		return o.sendName(m.Payload, w.addr)
	}
	hops := s.session.lowHops(m.HopLimit, m.Source.Addr())
	err := o.send(m.Payload, w.target, hops)
	for again := 0; err != nil && o.queues() && !congested(err) && again < sendAgain; again++ {
		o.faults(s.faulted)
		err = o.send(m.Payload, w.target, hops)
	}
	return err
}

// handle gives p to the way's handler, which answers from its destination.
func (s *socket) handle(src netip.AddrPort, p []byte) {
	w := s.way
	s.served = true
	s.session.stats.datagramsOut.Add(1)
	w.handler.HandlePacket(outbound.Flow{Network: "udp", Source: src, Destination: w.dst}, p, w.reply)
}

// lost counts a datagram that could not be sent and tells the client, unless it was
// lost as any network loses some.
func (s *socket) lost(m udp.Msg, err error) {
	s.session.stats.datagramsLost.Add(1)
	if congested(err) {
		s.served = true // the way is there
		return
	}
	s.refuse(m, err)
}

// congested tells whether a send failed for want of room on this host.
func congested(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EAGAIN) || systemErrno(err) == syscall.ENOBUFS
}

// name remembers that the client asks target, and calls it dst.
func (s *socket) name(target, dst netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked.add(target)
	if target == dst {
		delete(s.names, target)
		return
	}
	if s.names == nil {
		s.names = make(map[netip.AddrPort]netip.AddrPort)
	}
	for old := range s.names {
		if len(s.names) < maxNames {
			break
		}
		delete(s.names, old)
	}
	s.names[target] = dst
}

// called returns what the client calls src, from where something has come by o, which may
// be nil, and whether that is another address.
func (s *socket) called(o *outlet, src origin) (netip.AddrPort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if dst, ok := s.names[src.addr]; ok {
		return dst, true
	}
	if o != nil && len(o.named) > 0 && !slices.Contains(s.asked, src.addr) {
		for _, w := range o.named {
			if w.port == src.port() {
				return w.dst, true
			}
		}
	}
	return src.addr, false
}

// refuse tells the client that m went nowhere. A Socket that was good for nothing
// ends with it.
func (s *socket) refuse(m udp.Msg, err error) {
	if errno := unreachable(err); errno != 0 {
		err = fmt.Errorf("%w (%w)", err, errno)
	}
	s.session.log.Debug("datagram refused", "source", m.Source, "destination", m.Destination, "err", err)
	if !s.served && s.sock.Info().Queued == 0 {
		_ = s.sock.Reject(err) // fails for one that has ended, which is as well
		return
	}
	if !errors.Is(err, syscall.EMSGSIZE) { // it is the datagram's fault, not the destination's
		_ = s.sock.Refuse(m, err)
	}
}

// inwards brings the client what comes from upstream, until the upstream socket
// is closed.
func (s *socket) inwards(o *outlet) {
	var from sender
	for failures := 0; ; {
		b, payload, src, err := o.receive()
		if err != nil {
			if o.gone.Load() {
				return // another takes its place
			}
			// An ICMP error that upstream got is no reason to end (RFC 4787,
			// REQ-10); what goes on and on is.
			if o.faults(s.faulted) {
				failures = 0
				continue
			}
			if failures++; gone(err) || failures == maxFailures {
				s.died(o, err)
				return
			}
			continue
		}
		failures = 0
		s.from(&from, o, src)
		stats := s.session.stats
		if from.why != nil {
			stats.policyDatagrams.Add(1)
		} else {
			s.give(udp.Msg{Payload: payload, Source: from.name})
		}
		buffers.Put(b)
	}
}

// died ends s with o, through which nothing comes any more, unless there are others: they
// live on, and what went by o gets another.
func (s *socket) died(o *outlet, err error) {
	if s.bury(o) == 0 {
		s.sock.Kill(fmt.Errorf("%w: %w", stack.ResetByUpstream, err)) // it has ended, mostly
	}
}

// bury counts o among the dead, once, and returns how many live.
func (s *socket) bury(o *outlet) int32 {
	if o.dead.Swap(true) {
		return s.living.Load()
	}
	return s.living.Add(-1)
}

// give sends m to the client, and counts it.
func (s *socket) give(m udp.Msg) {
	if s.answer(m) != nil {
		s.session.stats.datagramsLost.Add(1)
	} else {
		s.session.stats.datagramsIn.Add(1)
	}
}

// answer sends m to the client.
func (s *socket) answer(m udp.Msg) error {
	_, err := s.sock.WriteMsg(m)
	if told(err) {
		_, err = s.sock.WriteMsg(m)
	}
	return err
}

// told tells whether err is that of an ICMP error about something sent before, which
// the next call on the Socket says, once: it has sent nothing itself.
func told(err error) bool {
	var f *icmp.Error
	return errors.As(err, &f)
}

// sender is where the last datagram came from: the next mostly comes from there
// too.
type sender struct {
	seen bool // there was one
	src  origin
	name netip.AddrPort // what the client calls it
	why  error          // why the client gets nothing from there
}

// from brings f up to date for a datagram from src by o.
func (s *socket) from(f *sender, o *outlet, src origin) {
	name, renamed := s.called(o, src)
	if f.seen && src == f.src && name == f.name {
		return
	}
	*f = sender{seen: true, src: src, name: name}
	if !renamed {
		f.why = s.session.judge(src.addr.Addr())
	}
}

// gone tells the errors of an upstream socket after which nothing comes any more.
func gone(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, outbound.ErrProxy)
}

// maxFailures in a row make an upstream socket a broken one.
const maxFailures = 64

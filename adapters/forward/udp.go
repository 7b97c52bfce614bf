package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

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

	// Where the last datagram went: a conversation mostly goes on with the same.
	dst    netip.AddrPort
	target netip.AddrPort
	why    error // not at all, because of this

	v4, v6 *outlet // opened when they are first needed
	inward sync.WaitGroup

	mu    sync.Mutex // a leaf
	asked targets
	names map[netip.AddrPort]netip.AddrPort // what the client calls a target, where that differs; nil if nowhere
}

// maxNames bounds the names of a socket. Any goes when there are more: its target
// answers under its own address then.
const maxNames = 256

// buffer holds any datagram. buffers never leave this package.
type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// socket serves one Socket until it ends, which its idle timeout sees to.
func (n *session) socket(ctx context.Context, sock *udp.Socket) {
	if sock.Mapping() == udp.PerDestination {
		n.log.Warn("sockets mapped PerDestination cannot be forwarded", "destination", sock.Destination())
		_ = sock.Reject(syscall.ECONNREFUSED) // fails for one that has ended, which is as well
		return
	}
	s := &socket{session: n, sock: sock}
	n.stats.sockets.Add(1)
	n.add(s)
	for sock.Wait() == nil {
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
	for _, o := range []*outlet{s.v4, s.v6} {
		if o != nil {
			o.close()
		}
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
	s.lookUp(m.Source, m.Destination)
	s.pass(ctx, m)
}

// lookUp finds out where datagrams to dst go, if the last one went elsewhere.
func (s *socket) lookUp(src, dst netip.AddrPort) {
	if dst != s.dst {
		s.dst = dst
		s.target, s.why = s.judge(src, dst)
	}
}

// pass sends m to the target, or tells the client why not. It opens the upstream
// socket, if need be.
func (s *socket) pass(ctx context.Context, m udp.Msg) {
	if s.why != nil {
		if errors.Is(s.why, stack.Policy) {
			s.session.stats.policyDatagrams.Add(1)
		}
		s.refuse(m, s.why)
		return
	}
	o, err := s.outlet(ctx, m)
	if err == nil {
		hops := s.session.lowHops(m.HopLimit, m.Source.Addr())
		err = o.send(m.Payload, s.target, hops)
		for again := 0; err != nil && o.queues() && !congested(err) && again < sendAgain; again++ {
			o.faults(s.faulted)
			err = o.send(m.Payload, s.target, hops)
		}
	}
	if err != nil {
		s.lost(m, err)
		return
	}
	s.served = true
	s.session.stats.datagramsOut.Add(1)
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

// judge says where datagrams to dst go.
func (s *socket) judge(src, dst netip.AddrPort) (netip.AddrPort, error) {
	t, err := s.session.route("udp", src, dst)
	switch {
	case err != nil:
		return netip.AddrPort{}, err
	case t.Host != "":
		return netip.AddrPort{}, errNoNames
	case !t.Trusted:
		if err := s.session.judge(t.Addr.Addr()); err != nil {
			return netip.AddrPort{}, err
		}
	}
	s.name(t.Addr, dst)
	return t.Addr, nil
}

var errNoNames = fmt.Errorf("forward: names are for TCP only: %w", syscall.EHOSTUNREACH)

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

// called returns what the client calls src, and whether that is another address.
func (s *socket) called(src netip.AddrPort) (netip.AddrPort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if dst, ok := s.names[src]; ok {
		return dst, true
	}
	return src, false
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

// outlet returns the upstream socket of the target's family and opens it if there
// is none.
func (s *socket) outlet(ctx context.Context, m udp.Msg) (*outlet, error) {
	which, network := &s.v6, "udp6"
	if s.target.Addr().Is4() {
		which, network = &s.v4, "udp4"
	}
	if *which != nil {
		return *which, nil
	}
	n := s.session
	if n.packets == nil {
		return nil, errNoPackets
	}
	began := time.Now()
	pc, err := n.packets.ListenPacket(ctx, network, ":0")
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
	o := newOutlet(pc)
	if !s.adopt(o) {
		s.inward.Go(func() { s.inwards(o) }) // awaited by finish, which closes o
	}
	*which = o
	return o, nil
}

var errNoPackets = fmt.Errorf("forward: the Dialer is no PacketListener and there is no other: %w", syscall.EACCES)

// inwards brings the client what comes from upstream, until the upstream socket
// is closed.
func (s *socket) inwards(o *outlet) {
	var from sender
	for failures := 0; ; {
		b, payload, src, err := o.receive()
		if err != nil {
			// An ICMP error that upstream got is no reason to end (RFC 4787,
			// REQ-10); what goes on and on is.
			if o.faults(s.faulted) {
				failures = 0
				continue
			}
			if failures++; errors.Is(err, net.ErrClosed) || failures == maxFailures {
				s.sock.Kill(fmt.Errorf("%w: %w", stack.DialFailed, err)) // it has ended, mostly
				return
			}
			continue
		}
		failures = 0
		s.from(&from, src)
		stats := s.session.stats
		if from.why != nil {
			stats.policyDatagrams.Add(1)
		} else if err := s.answer(udp.Msg{Payload: payload, Source: from.name}); err != nil {
			stats.datagramsLost.Add(1)
		} else {
			stats.datagramsIn.Add(1)
		}
		buffers.Put(b)
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
	addr netip.AddrPort
	name netip.AddrPort // what the client calls it
	why  error          // why the client gets nothing from there
}

// from brings f up to date for a datagram from src.
func (s *socket) from(f *sender, src netip.AddrPort) {
	name, renamed := s.called(src)
	if src == f.addr && name == f.name {
		return
	}
	*f = sender{addr: src, name: name}
	if !renamed {
		f.why = s.session.judge(src.Addr())
	}
}

// maxFailures in a row make an upstream socket a broken one.
const maxFailures = 64

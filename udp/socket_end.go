package udp

import (
	"errors"
	"net/netip"
	"syscall"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// Close ends the Socket: calls that wait return net.ErrClosed, what nobody has
// read is dropped and counted, and the next datagram of the client opens a new
// Socket. It never waits and may be called any number of times; it returns nil.
func (s *Socket) Close() error {
	s.end(flow.Closed, drop.UDPClosed)
	return nil
}

// Kill ends the Socket as Close does, but with a cause of its own, which calls
// return beside net.ErrClosed. nil stands for "killed".
func (s *Socket) Kill(cause error) {
	s.end(causeOf(cause, flow.Killed), drop.UDPClosed)
}

// Reject refuses the datagram that opened the Socket with an ICMP error that
// quotes it, and ends the Socket; the client sees ECONNREFUSED on its socket if
// that is connected. What the error is follows from err, which becomes the cause
// of the end:
//
//	ECONNREFUSED, nil, any other  port unreachable
//	EHOSTUNREACH                  host unreachable
//	ENETUNREACH                   net unreachable
//	EACCES, EPERM                 administratively prohibited
//	a timeout                     none, as if the datagram had been lost
//
// It fails when the Socket has ended, and with EINVAL for one that no datagram
// opened.
func (s *Socket) Reject(err error) error {
	if s.kind != accepted {
		return s.opError(opReject, nil, syscall.EINVAL)
	}
	if err == nil {
		err = syscall.ECONNREFUSED
	}
	if ended := s.end(causeOf(err, flow.Reset), drop.UDPRefused); ended != nil {
		return s.opError(opReject, nil, ended)
	}
	if f, ok := unreachableFor(err); ok {
		s.t.unreachable(f, s.first)
	}
	return nil
}

// Refuse tells the client that m, a datagram that it sent, did not reach its
// destination: with the ICMP error that Reject would send for err, quoting m, or with
// the one that err is, an icmp.Error, from the router that it names. The Socket lives on. This is how a relay passes on what it hears from the other
// side. It is an error to refuse what this Socket cannot have received, EINVAL,
// and to refuse after the end.
func (s *Socket) Refuse(m Msg, err error) error {
	if ended := s.err(); ended != nil {
		return s.opError(opReject, nil, ended)
	}
	from, to, wrong := s.route(m.Destination, m.Source)
	if wrong != nil || s.kind == dialled || len(m.Payload) > max6 {
		return s.opError(opReject, addrOf(m.Source), syscall.EINVAL)
	}
	if f, ok := unreachableFor(err); ok && s.t.mayReport(to.Addr(), from.Addr()) {
		// The packet is gone; its headers are what matters, and these we know.
		buf := getPacketBuffer()
		*buf = packet.AppendUDP((*buf)[:0], to, from, 0, 0, m.Payload)
		s.t.report(f, from.Addr(), *buf)
		putPacketBuffer(buf)
	}
	return nil
}

// unreachableFor returns the ICMP error that tells a client of err; false means
// none.
func unreachableFor(err error) (packet.Fault, bool) {
	var f *packet.Fault
	var t interface{ Timeout() bool }
	kind := packet.PortUnreachable
	switch {
	case errors.As(err, &f):
		return *f, true
	case errors.Is(err, syscall.EHOSTUNREACH):
		kind = packet.HostUnreachable
	case errors.Is(err, syscall.ENETUNREACH):
		kind = packet.NetUnreachable
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, flow.Policy):
		kind = packet.AdminProhibited
	case errors.As(err, &t) && t.Timeout(), errors.Is(err, flow.TimedOut):
		return packet.Fault{}, false
	}
	return packet.Fault{Kind: kind}, true
}

// end ends the Socket, once, with cause, which carries a flow.Cause. What waits
// to be read is dropped and counted for lost. A Socket that has ended already
// returns what its calls return.
func (s *Socket) end(cause error, lost drop.Cause) error {
	// First out of the table: from here on a datagram opens another Socket.
	s.t.remove(s)
	s.mu.Lock()
	if ended := s.ended; ended != nil {
		s.mu.Unlock()
		return ended
	}
	s.ended, s.cause, s.endedAt = closedError(cause), cause, s.t.env.Now()
	left := s.queue
	s.queue.head, s.queue.tail, s.queue.count, s.queue.bytes = nil, nil, 0, 0
	s.filter.free()
	s.filter = nil
	s.disarm()
	cancel, notifier := s.cancel, s.notifier
	s.mu.Unlock()

	s.readable.Broadcast()
	if cancel != nil {
		cancel(cause)
	}
	for d := left.pop(); d != nil; d = left.pop() {
		s.lose(lost)
		s.release(d)
	}
	s.t.memory.drop(budget.SocketCost)
	s.t.env.Flows.Remove(s.id, s.FlowInfo())
	if notifier != nil {
		notifier.Notify(flow.Event{})
	}
	return nil
}

// err returns what calls return after the end, nil while the Socket lives.
func (s *Socket) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// maySend tells whether the Socket's filter lets a datagram out that comes from from.
func (s *Socket) maySend(from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filter.allows(from)
}

// report keeps err for the next call, once, and wakes those who wait.
func (s *Socket) report(err error) {
	s.mu.Lock()
	if s.ended == nil {
		s.pending = err
	}
	notifier := s.notifier
	s.mu.Unlock()
	s.readable.Signal()
	if notifier != nil {
		notifier.Notify(flow.Event{})
	}
}

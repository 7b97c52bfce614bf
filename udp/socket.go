package udp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/internal/flow"
)

// kind says how a Socket came to be.
type kind uint8

const (
	accepted  kind = iota // by a datagram from behind the conn
	listening             // by Table.Listen
	dialled               // by Table.Dial
)

// Socket is a UDP conversation: a net.PacketConn whose addresses follow from
// the [Mapping], see the table of the package comment. All methods may be called
// at once by anyone; datagrams are read whole, in the order of their arrival,
// each by one reader.
//
// A Socket needs neither a goroutine nor a buffer of its own while it is idle,
// and it must be closed, or left to its idle timeout.
type Socket struct {
	t       *Table
	id      flow.ID
	kind    kind
	mapping Mapping
	// local is our end and peer the one behind the conn; zero where the mapping
	// leaves them open. The address of a local end that listens on all our
	// addresses is unspecified, or invalid for both families.
	local, peer netip.AddrPort
	opened      time.Time
	first       []byte // headers of the packet that opened it, for Reject

	place place // in the table, whose mutex guards it

	mu       sync.Mutex
	readable sync.Cond // queue, pending, ended or a deadline changed
	queue    queue
	filled   int64         // when the queue was empty last, by the budget's time
	notifier flow.Notifier // beside readable; nil mostly
	pending  error         // told by ICMP, for the next call
	ended    error         // what calls find after the end; nil while it lives
	cause    error         // of the end
	endedAt  time.Time
	filter   *filter // nil: allows all
	deadlines
	ctx    context.Context // nil until asked for
	cancel context.CancelCauseFunc

	in, out               atomic.Uint64 // payload bytes
	datagramsIn, lostIn   atomic.Uint64
	datagramsOut, lostOut atomic.Uint64
}

func newSocket(t *Table, k kind, m Mapping, peer, local netip.AddrPort) *Socket {
	s := &Socket{
		t: t, id: t.env.Flows.NextID(), kind: k, mapping: m, local: local, peer: peer,
		opened: t.env.Now(),
	}
	s.readable.L = &s.mu
	s.queue.maxBytes, s.queue.maxCount = t.cfg.QueueBytes, t.cfg.QueueDatagrams
	s.place.heap = -1
	if mode := t.cfg.Filtering; k == accepted && mode != EndpointIndependent && m != PerFlow {
		if m == PerDestination {
			// The far end is one address and port, so what differs is the client's
			// own port: letting in a port that never sent would open a mapping.
			mode = AddressAndPortDependent
		}
		s.filter = &filter{mode: mode, budget: t.env.Budget}
	}
	return s
}

// ID returns the flow's number, stable and unique within its stack.
func (s *Socket) ID() flow.ID { return s.id }

// Mapping returns how the Socket was mapped. One from Listen is PerDestination.
func (s *Socket) Mapping() Mapping { return s.mapping }

// Source returns the client, or zero where there are many (PerDestination). For
// a dialled Socket it is our own address.
func (s *Socket) Source() netip.AddrPort {
	if s.kind == dialled {
		return s.local
	}
	return s.peer
}

// Destination returns what the client dialled, or zero where it may be anything
// (PerSource). For a dialled Socket it is the address that we dialled.
func (s *Socket) Destination() netip.AddrPort {
	if s.kind == dialled {
		return s.peer
	}
	return s.local
}

// LocalAddr returns our end, a *net.UDPAddr: the address that the client
// dialled, and for PerSource, which answers from any address, the unspecified
// one with port 0. It is never nil.
func (s *Socket) LocalAddr() net.Addr {
	if !s.local.Addr().IsValid() {
		any6 := netip.IPv6Unspecified()
		if s.peer.Addr().Is4() {
			any6 = netip.IPv4Unspecified()
		}
		return addrOf(netip.AddrPortFrom(any6, s.local.Port()))
	}
	return addrOf(s.local)
}

// RemoteAddr returns the client, a *net.UDPAddr, or nil where there are many
// (PerDestination).
func (s *Socket) RemoteAddr() net.Addr { return addrOf(s.peer) }

// Context returns a context that is cancelled when the Socket ends, with the
// reason for its end as context.Cause.
func (s *Socket) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		if s.ended != nil {
			s.cancel(s.cause)
		}
	}
	return s.ctx
}

// Conn returns the connected view of a PerFlow Socket: a net.Conn between its
// two ends, and false for any other mapping. Closing either closes both.
func (s *Socket) Conn() (net.Conn, bool) {
	if s.mapping != PerFlow {
		return nil, false
	}
	return &Conn{s}, true
}

// SetReadBuffer sets how many bytes of received datagrams may wait, counted by
// the size of their buffers as for [Config].QueueBytes. A value below what waits
// already drops nothing.
func (s *Socket) SetReadBuffer(bytes int) error {
	if bytes <= 0 {
		return s.opError(opSet, nil, syscall.EINVAL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.opError(opSet, nil, s.ended)
	}
	s.queue.maxBytes = bytes
	return nil
}

// SetIdleTimeout sets how long the Socket lives after its client last sent
// something, in place of all the timeouts of [Config]; negative is for ever, and
// zero goes back to the Config. It does nothing to a Socket that the stack
// listens on or has dialled: these never expire.
func (s *Socket) SetIdleTimeout(d time.Duration) { s.t.setIdle(s, d) }

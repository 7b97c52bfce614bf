package udp

import (
	"net"
	"net/netip"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
)

// Msg is a datagram with both its ends.
type Msg struct {
	// Payload is what it carries. ReadMsg lets it point into the caller's
	// buffer.
	Payload []byte
	// Source and Destination are those of its IP and UDP headers: what came
	// from a client has the client as Source, what goes to it as Destination.
	Source, Destination netip.AddrPort
	// Size is the length of a received payload before it was cut, in bytes.
	// WriteMsg ignores it.
	Size int
	// HopLimit is the TTL or hop limit with which a received datagram arrived, 0 if
	// it came from inside the stack. Who sends it on as a router does so with one
	// less. WriteMsg ignores it.
	HopLimit uint8
}

// Truncated tells whether the received payload was longer than the buffer.
func (m Msg) Truncated() bool { return m.Size > len(m.Payload) }

// Reply returns a datagram with payload that goes back the way m came.
func (m Msg) Reply(payload []byte) Msg {
	return Msg{Payload: payload, Source: m.Destination, Destination: m.Source}
}

// ReadMsg reads one datagram into b, waiting for it, and returns it with both
// its ends. A datagram longer than b is cut, which Msg.Truncated tells; it is not
// an error here. It does not allocate.
func (s *Socket) ReadMsg(b []byte) (Msg, error) {
	d, err := s.next()
	if err != nil {
		return Msg{}, s.opError(opRead, nil, err)
	}
	m := Msg{Source: d.src, Destination: d.dst, Size: d.n, HopLimit: d.hops}
	m.Payload = b[:copy(b, d.payload())]
	s.release(d)
	return m, nil
}

// ReadFromUDPAddrPort reads one datagram into b, waiting for it, and returns its
// length and the address that the mapping leaves open (see [Socket.ReadFrom]).
// IPv4 addresses are never in their IPv6-mapped form. It does not allocate.
func (s *Socket) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	d, err := s.next()
	if err != nil {
		return 0, netip.AddrPort{}, s.opError(opRead, nil, err)
	}
	addr, size := d.src, d.n
	if s.mapping == PerSource {
		addr = d.dst
	}
	n := copy(b, d.payload())
	s.release(d)
	if n < size {
		return n, addr, s.opError(opRead, nil, &TruncatedError{size})
	}
	return n, addr, nil
}

// ReadFrom implements net.PacketConn. The address is a *net.UDPAddr: for
// PerSource the one that the client sent this datagram to, else the client that
// sent it.
//
// A datagram longer than b is cut: then n is len(b), the address is there, and
// the error matches syscall.EMSGSIZE, io.ErrShortBuffer and [TruncatedError].
// Package net does so on Windows; a silent cut, as elsewhere, would be data
// corrupted without a trace.
func (s *Socket) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := s.ReadFromUDPAddrPort(b)
	return n, addrOf(a), err
}

// Wait waits until a read would not wait, and consumes nothing: a datagram is
// there, or an error other than the end. With it a relay needs no buffer for a
// Socket that is silent. It fails once the Socket has ended, as a read does.
func (s *Socket) Wait() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ended == nil && s.pending == nil && s.queue.count == 0 && !passed(s.readDeadline) {
		s.armRead()
		s.readable.Wait()
	}
	if s.ended != nil {
		return s.opError(opRead, nil, s.ended)
	}
	s.readable.Signal() // what woke this call is still there, for whoever reads
	return nil
}

// next waits for the next datagram and takes it out of the queue. The caller
// releases it.
func (s *Socket) next() (*datagram, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.readError(); err != nil {
			return nil, err
		}
		if d := s.queue.pop(); d != nil {
			return d, nil
		}
		s.armRead()
		s.readable.Wait()
	}
}

// release gives a datagram that was taken out of the queue back.
func (s *Socket) release(d *datagram) {
	s.t.memory.give(d.cost())
	d.free()
}

// enqueue puts a copy of a received datagram into the queue, on the goroutine
// that reads the conn: it never waits. It returns why the datagram was dropped,
// which it has counted, and drop.Closed uncounted when the Socket has ended. The
// Notifier is called at once, or for a batch that is open at its end.
func (s *Socket) enqueue(src, dst netip.AddrPort, payload []byte, hops uint8, batch *batch) drop.Cause {
	cost := sizes[classOf(len(payload))]
	if !s.t.memory.take(cost) {
		return s.lose(drop.UDPMemory)
	}
	d := newDatagram(src, dst, payload)
	d.hops = hops
	s.mu.Lock()
	cause := drop.None
	switch {
	case s.ended != nil:
		cause = drop.Closed
	case s.queue.full(cost):
		cause = drop.UDPQueueFull
	}
	if s.filter != nil && cause != drop.Closed {
		far := src
		if s.mapping == PerSource {
			far = dst
		}
		if !s.filter.allow(far) {
			cause = drop.UDPMemory
		}
	}
	if cause == drop.None {
		if s.queue.count == 0 {
			s.filled = s.t.memory.now()
		}
		s.queue.push(d)
		s.in.Add(uint64(len(payload)))
		s.datagramsIn.Add(1)
	}
	notifier := s.notifier
	if s.queue.count != 1 {
		notifier = nil // it was told of the first one
	}
	s.mu.Unlock()
	if cause == drop.None {
		s.readable.Signal()
		if notifier != nil && !batch.later(notifier) {
			notifier.Notify(flow.Event{})
		}
		return cause
	}
	s.release(d)
	if cause != drop.Closed {
		s.lose(cause)
	}
	return cause
}

// lose counts a datagram to this Socket that was dropped.
func (s *Socket) lose(c drop.Cause) drop.Cause {
	s.lostIn.Add(1)
	s.t.env.Drops.Add(c)
	return c
}

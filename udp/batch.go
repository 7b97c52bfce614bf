package udp

import (
	"net/netip"
	"os"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// Message is a datagram of the batch calls, in memory of the caller: what
// ipv4.Message of golang.org/x/net is, with addresses that cost no allocation.
type Message struct {
	// Buffer is the room that a datagram is read into, and the whole payload of
	// one that is written.
	Buffer []byte
	// N is how many bytes of Buffer were read. WriteBatch ignores it: to send
	// what was read, cut Buffer to it.
	N int
	// Size is the length of a datagram that was read before it was cut to fit
	// Buffer. WriteBatch ignores it.
	Size int
	// Segment, if positive, makes WriteBatch send Buffer as several datagrams of
	// that many bytes, the last of what remains, as UDP_SEGMENT does. ReadBatch
	// sets it to 0.
	Segment int
	// HopLimit is that of the packet that was read, as in [Msg]. WriteBatch ignores it.
	HopLimit uint8
	// Source and Destination are those of the packet, as in [Msg]. An end that
	// the mapping fixes may be left zero in WriteBatch.
	Source, Destination netip.AddrPort
}

// Truncated tells whether the datagram that was read was longer than Buffer.
func (m *Message) Truncated() bool { return m.Size > m.N }

// ReadBatch waits for a datagram, then takes without waiting those that are there,
// up to len(msgs), and returns how many it has read: datagram i into
// msgs[i].Buffer. One that is longer is cut, which Message.Truncated tells. With no
// room for a single one it returns 0 at once. An error comes with n = 0; they are
// those of [Socket.ReadMsg]. It does not allocate.
func (s *Socket) ReadBatch(msgs []Message) (n int, err error) {
	if len(msgs) == 0 {
		return 0, nil
	}
	d, err := s.nextRun(len(msgs))
	if err != nil {
		return 0, s.opError(opRead, nil, err)
	}
	cost := 0
	for ; d != nil; n++ {
		m := &msgs[n]
		m.N, m.Size, m.Segment = copy(m.Buffer, d.payload()), d.n, 0
		m.Source, m.Destination, m.HopLimit = d.src, d.dst, d.hops
		cost += d.cost()
		next := d.next
		d.free()
		d = next
	}
	s.t.memory.give(cost)
	return n, nil
}

// nextRun waits for a datagram and takes up to limit of those that are there out of
// the queue, one linked to the next. The caller releases them.
func (s *Socket) nextRun(limit int) (*datagram, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.readError(); err != nil {
			return nil, err
		}
		if d, _ := s.queue.popRun(limit); d != nil {
			if s.queue.count > 0 {
				s.readable.Signal() // for another reader
			}
			return d, nil
		}
		s.armRead()
		s.readable.Wait()
	}
}

// readError returns why a read fails now. s.mu is held.
func (s *Socket) readError() error {
	switch {
	case s.ended != nil:
		return s.ended
	case passed(s.readDeadline):
		return os.ErrDeadlineExceeded
	}
	err := s.pending
	s.pending = nil
	return err
}

// WriteBatch sends msgs in order, each as [Socket.WriteMsg] does, and returns how
// many it has sent. n < len(msgs) comes with the error of message n; the caller may
// go on with the next. Equal datagrams in a row with the same ends (the last may be
// shorter), and those of one Message with a Segment, leave as one write where the
// conn takes that, up to 64 of them, and share the fate of that write. It does not
// allocate unless it fails.
func (s *Socket) WriteBatch(msgs []Message) (n int, err error) {
	for n < len(msgs) {
		m := &msgs[n]
		from, to, err := s.admit(m.Source, m.Destination)
		if err == nil {
			var k int
			if k, err = s.writeRun(msgs[n:], from, to); err == nil {
				n += k
				continue
			}
		}
		named := m.Destination
		if s.mapping == PerSource {
			named = m.Source
		}
		return n, s.opError(opWrite, addrOf(named), err)
	}
	return n, nil
}

// writeRun sends the first of msgs and those behind it that go with it from from to
// to, and returns how many these are.
func (s *Socket) writeRun(msgs []Message, from, to netip.AddrPort) (int, error) {
	first := &msgs[0]
	size := len(first.Buffer)
	if seg := first.Segment; seg > 0 && seg < size {
		return 1, s.writeSegmented(first.Buffer, seg, from, to)
	}
	if len(msgs) == 1 || !s.together(first, &msgs[1]) || !s.t.mayRun(to.Addr(), size) {
		err := s.t.send(s, from, to, first.Buffer)
		if err == nil {
			s.sentOut(1, size)
		}
		return 1, err
	}
	o := getOutgoing()
	defer o.free()
	o.add(first.Buffer)
	for i := 1; i < min(len(msgs), maxRun) && s.together(first, &msgs[i]); i++ {
		b := msgs[i].Buffer
		if o.total+len(b) > maxRunBytes {
			break
		}
		o.add(b)
		if len(b) < size {
			break
		}
	}
	s.t.wrote(s)
	s.emitRun(o, from, to)
	return o.count, nil
}

// together tells whether m may follow first in a run.
func (s *Socket) together(first, m *Message) bool {
	n := len(m.Buffer)
	return n > 0 && n <= len(first.Buffer) && (m.Segment <= 0 || m.Segment >= n) &&
		m.Source == first.Source && m.Destination == first.Destination
}

// mayRun tells whether datagrams of size bytes may leave for to in runs.
func (t *Table) mayRun(to netip.Addr, size int) bool {
	return size > 0 && t.offload.Has(l3conn.OffloadUDP) && t.fits(size, to) && !t.env.own(to)
}

// writeSegmented sends b as datagrams of size bytes.
func (s *Socket) writeSegmented(b []byte, size int, from, to netip.AddrPort) error {
	if size > s.t.maxPayload(to.Addr()) {
		s.t.env.Drops.AddN(drop.UDPTooLarge, uint64((len(b)+size-1)/size))
		s.lostOut.Add(uint64((len(b) + size - 1) / size))
		return syscall.EMSGSIZE
	}
	if !s.t.mayRun(to.Addr(), size) {
		for len(b) > 0 {
			n := min(size, len(b))
			if err := s.t.send(s, from, to, b[:n]); err != nil {
				return err
			}
			s.sentOut(1, n)
			b = b[n:]
		}
		return nil
	}
	s.t.wrote(s)
	for most := min(maxRun, maxRunBytes/size) * size; len(b) > 0; {
		n := min(most, len(b))
		o := getOutgoing()
		o.part(b[:n])
		o.size, o.count = size, (n+size-1)/size
		s.emitRun(o, from, to)
		o.free()
		b = b[n:]
	}
	return nil
}

// emitRun sends what is in o and counts it.
func (s *Socket) emitRun(o *outgoing, from, to netip.AddrPort) {
	if !s.t.emit(o, from, to) {
		s.lostOut.Add(uint64(o.count))
	}
	s.sentOut(o.count, o.total)
}

// sentOut counts datagrams that the application has sent.
func (s *Socket) sentOut(datagrams, bytes int) {
	s.out.Add(uint64(bytes))
	s.datagramsOut.Add(uint64(datagrams))
}

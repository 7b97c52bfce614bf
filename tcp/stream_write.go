package tcp

import (
	"net"
	"os"
	"syscall"

	"l3extract/internal/netstack"
)

// errWriteShut is what writing returns after CloseWrite.
const errWriteShut = syscall.EPIPE

// stopWriting says why a write may not go on, or nil: the end, the error that was
// met, the deadline, in this order.
func (s *Stream) stopWriting() error {
	if p := s.dead.Load(); p != nil {
		return *p
	}
	s.mu.Lock()
	shut, failed, err := s.wb.shut, s.wb.failed, s.wb.err
	s.wb.err = nil
	s.mu.Unlock()
	if failed {
		if err != nil {
			return err
		}
		return s.broken()
	}
	if shut {
		return errWriteShut
	}
	if ep := s.ep.Load(); ep != nil && ended(ep.State()) {
		return s.broken()
	}
	if s.wdl.passed.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// broken returns the error of a connection on which nothing can be sent.
func (s *Stream) broken() error {
	if ep := s.ep.Load(); ep != nil {
		if err := failure(ep); err != nil {
			return s.ended(err)
		}
	}
	return errWriteShut
}

// Write accepts b, and waits only while neither the write buffer nor the send
// buffer has room. It returns how many bytes were accepted: those are sent, also if
// Close or CloseWrite follow. Nothing is accepted after Close (net.ErrClosed),
// CloseWrite (EPIPE), an error of the connection or a passed deadline. On a stream
// whose handshake was not decided it does the handshake first.
func (s *Stream) Write(b []byte) (int, error) {
	s.writeMu.Lock()
	n, err := s.write(b)
	s.writeMu.Unlock()
	return n, s.opError(opWrite, err)
}

func (s *Stream) write(b []byte) (n int, err error) {
	ep := s.ep.Load()
	if ep == nil {
		if ep, err = s.established(s.wsig, s.stopWriting); err != nil {
			return 0, err
		}
	}
	if err := s.stopWriting(); err != nil || len(b) == 0 {
		return 0, err
	}
	if len(b) >= s.wb.size {
		n, err = s.writeThrough(ep, b)
	} else {
		n, err = s.writeSmall(ep, b)
	}
	s.out.Add(uint64(n))
	return n, err
}

// writeSmall collects b in the write buffer, or sends it at once after a pause.
func (s *Stream) writeSmall(ep *netstack.Endpoint, b []byte) (n int, err error) {
	w := &s.wb
	for clear := false; ; {
		now := nanotime()
		s.mu.Lock()
		if w.shut || w.failed {
			s.mu.Unlock()
			return n, s.stopWriting()
		}
		atOnce := n == 0 && w.waiting() == 0 && !w.token &&
			(now-w.last >= int64(quiet) || w.hasRead.Load())
		var room []byte
		if !atOnce {
			if room = s.roomLocked(); room == nil {
				s.mu.Unlock()
				m, err := s.writeThrough(ep, b[n:])
				return n + m, err
			}
		}
		switch {
		case len(room) > 0:
			if w.waiting() == 0 {
				w.since = now
			}
			m := copy(room, b[n:])
			w.tail += m
			w.last = now
			n += m
			s.unlock()
			if m < len(room) {
				return n, nil
			}
			continue // full now: to be sent by whoever filled it
		case !atOnce && w.token && n < len(b):
			w.want = true
			s.mu.Unlock()
			<-s.wsig // its sender makes room
		case !atOnce && w.token:
			s.mu.Unlock()
			return n, nil
		case !clear: // asked only before sending: the answer costs a lock of all streams
			s.mu.Unlock()
			if n == len(b) {
				if _, congested := s.env.Link.Congested(); congested {
					return n, nil // nothing to wait for: the flusher has it
				}
			} else if err := s.uncongested(); err != nil {
				return n, err
			}
			clear = true
			continue
		case atOnce:
			w.hasRead.Store(false)
			w.token = true
			s.mu.Unlock()
			return s.writeNow(ep, b)
		default:
			s.flushFull(ep, n < len(b))
			if n == len(b) {
				return n, nil
			}
			clear = false
		}
		if err := s.stopWriting(); err != nil {
			return n, err
		}
	}
}

// flushFull sends the whole segments of a full buffer. If more room is needed and
// the engine takes none of it, it waits for a reason to try again. The caller holds
// mu, which is unlocked, and nobody the token.
func (s *Stream) flushFull(ep *netstack.Endpoint, more bool) {
	s.wb.token = true
	s.mu.Unlock()
	n, full := s.drain(ep, true)
	s.sent += n
	s.mu.Lock()
	s.wb.last = nanotime()
	s.mu.Unlock()
	s.release()
	if n == 0 && full && more && !s.tuneSend(ep) {
		<-s.wsig
	}
}

// writeNow sends b, the first Write after a pause, without collecting it; what the
// engine does not take waits in the buffer. The caller gives the token.
func (s *Stream) writeNow(ep *netstack.Endpoint, b []byte) (int, error) {
	n, err := ep.Write(b)
	s.sent += n
	if err == netstack.ErrWouldBlock {
		err = nil
	}
	s.mu.Lock()
	s.wb.last = nanotime()
	left := 0
	if err == nil && n < len(b) {
		if room := s.roomLocked(); room != nil { // empty, and b is smaller than it
			left = copy(room, b[n:])
			s.wb.tail += left
			s.wb.since = s.wb.last
		}
	}
	s.mu.Unlock()
	if left > 0 {
		m, _ := s.drain(ep, false)
		s.sent += m
	}
	s.release()
	n += left
	if err != nil {
		return n, s.ended(err)
	}
	if n < len(b) { // no memory for a buffer
		m, err := s.writeThrough(ep, b[n:])
		return n + m, err
	}
	return n, nil
}

// writeThrough gives b to the engine behind what waits, without the write buffer,
// and waits as long as the engine's send buffer is full.
func (s *Stream) writeThrough(ep *netstack.Endpoint, b []byte) (n int, err error) {
	w := &s.wb
	for {
		if err := s.uncongested(); err != nil {
			return n, err
		}
		s.mu.Lock()
		if w.shut || w.failed {
			s.mu.Unlock()
			return n, s.stopWriting()
		}
		if w.token {
			w.want = true
			s.mu.Unlock()
			<-s.wsig
		} else {
			w.token = true
			s.mu.Unlock()
			_, full := s.drain(ep, false)
			if !full {
				var m int
				m, err = ep.Write(b[n:])
				n += m
				s.sent += m
			}
			s.release()
			switch {
			case err != nil && err != netstack.ErrWouldBlock:
				return n, s.ended(err)
			case n == len(b):
				return n, nil
			case !s.tuneSend(ep):
				<-s.wsig
			}
			err = nil
		}
		if err := s.stopWriting(); err != nil {
			return n, err
		}
	}
}

// uncongested waits while the packet conn takes less than the streams give. The
// caller holds writeMu only, which neither reading nor Close needs.
func (s *Stream) uncongested() error {
	for {
		clear, congested := s.env.Link.Congested()
		if !congested {
			return nil
		}
		select {
		case <-clear:
		case <-s.wsig:
		}
		if err := s.stopWriting(); err != nil {
			return err
		}
	}
}

// Flush waits until everything that Write accepted was handed to the network
// stack. It does not wait for the peer to acknowledge it. Errors as Write.
func (s *Stream) Flush() error {
	s.writeMu.Lock()
	err := s.flush()
	s.writeMu.Unlock()
	return s.opError(opFlush, err)
}

func (s *Stream) flush() error {
	w := &s.wb
	ep := s.ep.Load()
	for {
		if err := s.stopWriting(); err != nil && err != errWriteShut {
			return err
		}
		if ep == nil {
			return nil // before the handshake nothing can wait
		}
		if err := s.uncongested(); err != nil && err != errWriteShut {
			return err
		}
		s.mu.Lock()
		if w.waiting() == 0 && !w.token {
			s.mu.Unlock()
			return nil
		}
		if w.token {
			w.want = true
			s.mu.Unlock()
			<-s.wsig
			continue
		}
		w.token = true
		s.mu.Unlock()
		n, full := s.drain(ep, false)
		s.sent += n
		s.release()
		if full && !s.tuneSend(ep) {
			<-s.wsig
		}
	}
}

// WriteBuffers writes all of v as one Write would, and removes from v what was
// accepted, as net.Buffers.WriteTo does for a connection of package net: it exists
// because that method cannot know this type.
func (s *Stream) WriteBuffers(v *net.Buffers) (n int64, err error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	for len(*v) > 0 {
		m, err := s.write((*v)[0])
		n += int64(m)
		if m < len((*v)[0]) {
			(*v)[0] = (*v)[0][m:]
			return n, s.opError(opWrite, err)
		}
		(*v)[0] = nil
		*v = (*v)[1:]
		if err != nil {
			return n, s.opError(opWrite, err)
		}
	}
	return n, nil
}

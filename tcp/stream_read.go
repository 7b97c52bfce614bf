package tcp

import (
	"bufio"
	"fmt"
	"io"
	"net"

	"l3extract/internal/netstack"
)

// errReadShut is what reading returns after CloseRead.
var errReadShut = fmt.Errorf("read side: %w", net.ErrClosed)

// Read reads what has been received, at least one byte, and waits for it if need
// be. It returns io.EOF when the peer has ended its side and everything was read;
// after a reset it returns ECONNRESET for ever, behind the data that came before
// it. On a stream whose handshake was not decided it does the handshake first.
func (s *Stream) Read(b []byte) (int, error) {
	s.readMu.Lock()
	n, err := s.read(b)
	s.readMu.Unlock()
	return n, s.opError(opRead, err)
}

func (s *Stream) read(b []byte) (int, error) {
	ep, err := s.ep.Load(), error(nil)
	if ep == nil {
		if ep, err = s.established(s.rsig, s.stopReading); err != nil {
			return 0, err
		}
	}
	for {
		if err := s.stopReading(); err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, nil
		}
		n, err := ep.Read(b)
		if n > 0 {
			s.received(ep, n)
			return n, nil
		}
		if err != netstack.ErrWouldBlock {
			return 0, s.ended(err)
		}
		if err := s.waitInput(ep); err != nil {
			return 0, err
		}
	}
}

// received counts n bytes that left the receive buffer. The caller holds readMu.
func (s *Stream) received(ep *netstack.Endpoint, n int) {
	s.in.Add(uint64(n))
	s.wb.hasRead.Store(true)
	s.tuneReceive(ep, n)
}

// ended makes the endpoint's last word the stream's: an end from our side that
// came first is the better answer than what it did to the endpoint.
func (s *Stream) ended(err error) error {
	if err == nil {
		err = io.ErrUnexpectedEOF // cannot happen: no bytes and no reason
	}
	if err != io.EOF {
		if p := s.dead.Load(); p != nil {
			return *p
		}
	}
	return err
}

// waitInput waits until reading is worth another try. First it sends what waits in
// the write buffer: the peer may need it to have anything to say. The caller holds
// readMu.
func (s *Stream) waitInput(ep *netstack.Endpoint) error {
	s.tryFlush(ep, false)
	s.mu.Lock()
	failed, err := s.wb.failed, s.wb.err
	s.mu.Unlock()
	if failed && err != nil {
		return err // nothing will come any more from a broken connection
	}
	<-s.rsig
	return nil
}

// Peek copies the next len(b) bytes into b without consuming them, and waits until
// so many have come. It returns fewer with the reason: io.EOF, a passed deadline,
// any other error of Read, or bufio.ErrBufferFull if the receive buffer cannot hold
// so many; unless SetReadBuffer made it smaller, 2 KiB always fit. The bytes stay for the next Read.
func (s *Stream) Peek(b []byte) (int, error) {
	s.readMu.Lock()
	n, err := s.peek(b)
	s.readMu.Unlock()
	return n, s.opError(opPeek, err)
}

func (s *Stream) peek(b []byte) (int, error) {
	ep, err := s.established(s.rsig, s.stopReading)
	if err != nil {
		return 0, err
	}
	want, full := len(b), error(nil)
	if want > ep.ReceiveBuffer()/4 {
		s.growReceive(ep, 4*want)
		if room := ep.ReceiveBuffer() / 4; want > room {
			want, full = room, bufio.ErrBufferFull
		}
	}
	n := 0
	for {
		if err := s.stopReading(); err != nil {
			return n, err
		}
		// Looked at before the data: when no more can come, all that came is there.
		last := inputEnded(ep.State())
		if n, err = s.copyPeeked(ep, b); n == len(b) {
			return n, nil
		} else if n >= want {
			return n, full
		}
		switch {
		case err != nil && err != netstack.ErrWouldBlock:
			return n, s.ended(err)
		case last && failure(ep) != nil:
			return n, s.ended(failure(ep))
		case last:
			return n, io.EOF
		}
		if err := s.waitInput(ep); err != nil {
			return n, err
		}
	}
}

// inputEnded reports whether no byte can be received in this state.
func inputEnded(st netstack.State) bool {
	switch st {
	case netstack.StateCloseWait, netstack.StateLastAck, netstack.StateClosing:
		return true
	}
	return ended(st)
}

// copyPeeked copies what has been received to b.
func (s *Stream) copyPeeked(ep *netstack.Endpoint, b []byte) (n int, err error) {
	v := vectors.Get().(*vector)
	defer v.put(len(v))
	for room := v[:0]; ; room = make([][]byte, 0, len(b)) { // as many as one-byte chunks need
		n = 0
		s.peekMu.Lock()
		var got [][]byte
		got, err = ep.Peek(room)
		for _, c := range got {
			n += copy(b[n:], c)
		}
		s.peekMu.Unlock()
		if n == len(b) || len(got) < cap(room) || cap(room) >= len(b) {
			return n, err
		}
	}
}

// Discard consumes the next n bytes and waits until so many have come. It returns
// fewer with the reason, as Read does.
func (s *Stream) Discard(n int) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	ep, err := s.established(s.rsig, s.stopReading)
	if err != nil {
		return 0, s.opError(opDiscard, err)
	}
	done := 0
	for {
		if err := s.stopReading(); err != nil {
			return done, s.opError(opDiscard, err)
		}
		if done >= n {
			return done, nil
		}
		m, err := ep.Discard(n - done)
		if m > 0 {
			done += m
			s.received(ep, m)
			continue
		}
		if err != netstack.ErrWouldBlock {
			return done, s.opError(opDiscard, s.ended(err))
		}
		if err := s.waitInput(ep); err != nil {
			return done, s.opError(opDiscard, err)
		}
	}
}

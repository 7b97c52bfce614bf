package tcp

import (
	"io"
	"net"
	"sync"

	"l3extract/internal/budget"
	"l3extract/internal/netstack"
)

// vector holds slices of the engine's memory for the length of one call.
type vector [64][]byte

// vectors holds vectors of 64 slices: as many chunks of up to 64 KiB as any socket
// buffer takes at once. They never leave this package.
var vectors = sync.Pool{New: func() any { return new(vector) }}

// put gives v back, of which the first n slices were used.
func (v *vector) put(n int) {
	clear(v[:n])
	vectors.Put(v)
}

// chunk is memory for copying between a Stream and something that takes or gives
// plain slices.
type chunk [chunkSize]byte

// chunkSize is large enough for the engine to build full segments of 64 KiB.
const chunkSize = 256 << 10

// copySize is what is held while a reader of unknown kind waits, as by io.Copy, and
// smallCopySize where memory is short.
const (
	copySize      = 32 << 10
	smallCopySize = 4 << 10
)

// smallChunk is what there is in place of a chunk when memory is short.
type smallChunk [16 << 10]byte

// They never leave this package.
var (
	chunks      = sync.Pool{New: func() any { return new(chunk) }}
	smallChunks = sync.Pool{New: func() any { return new(smallChunk) }}
)

// lent is memory for one pass of a copy.
type lent struct {
	b     []byte // nil: none
	big   *chunk // b's owner, or the next
	small *smallChunk
}

// borrow returns memory for one pass of a copy. Whoever is to take the bytes may stop
// taking them while it is held, so a chunk is granted by the budget; where that has
// no more to grow on there is a small one.
func (s *Stream) borrow() lent {
	if s.env.Budget.Grow(budget.WriteBuffer, chunkSize) {
		c := chunks.Get().(*chunk)
		return lent{c[:], c, nil}
	}
	c := smallChunks.Get().(*smallChunk)
	return lent{c[:], nil, c}
}

// handBack takes back what borrow lent.
func (s *Stream) handBack(l lent) {
	if l.big == nil {
		smallChunks.Put(l.small)
		return
	}
	chunks.Put(l.big)
	s.env.Budget.Give(budget.WriteBuffer, chunkSize)
}

// WriteTo reads until the peer has ended its side and writes everything to w, as
// io.Copy does. It holds no memory while it waits for the peer. On Linux the bytes
// go to a *net.TCPConn or *net.UnixConn without being copied in user space.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	if n, err, ok := s.writeToSocket(w); ok {
		return n, err
	}
	return s.writeToWriter(w)
}

func (s *Stream) writeToWriter(w io.Writer) (total int64, err error) {
	write := w.Write
	if d, ok := w.(*Stream); ok {
		write = d.writeAll // nothing of it is to wait in a buffer while we wait for more
	}
	for {
		if err := s.waitReadable(); err != nil {
			if err == io.EOF {
				return total, nil
			}
			return total, s.opError(opWriteTo, err)
		}
		l := s.borrow()
		n, err := s.readNow(l.b)
		if n > 0 {
			var m int
			m, err = write(l.b[:n])
			total += int64(m)
			if err == nil && m < n {
				err = io.ErrShortWrite
			}
		}
		s.handBack(l)
		switch {
		case n > 0 && err != nil:
			return total, err // the writer's
		case err == nil, err == netstack.ErrWouldBlock: // another reader was faster
		case err == io.EOF:
			return total, nil
		default:
			return total, s.opError(opWriteTo, err)
		}
	}
}

// waitReadable waits until there is something to read. io.EOF and errors as Read.
func (s *Stream) waitReadable() error {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	ep, err := s.established(s.rsig, s.stopReading)
	if err != nil {
		return err
	}
	v := vectors.Get().(*vector)
	defer v.put(1)
	for {
		if err := s.stopReading(); err != nil {
			return err
		}
		s.peekMu.Lock()
		got, err := ep.Peek(v[:0:1])
		s.peekMu.Unlock()
		if len(got) > 0 {
			return nil
		}
		if err != netstack.ErrWouldBlock {
			return s.ended(err)
		}
		if err := s.waitInput(ep); err != nil {
			return err
		}
	}
}

// readNow reads what there is and does not wait.
func (s *Stream) readNow(b []byte) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if err := s.stopReading(); err != nil {
		return 0, err
	}
	ep := s.ep.Load()
	n, err := ep.Read(b)
	if n > 0 {
		s.received(ep, n)
		return n, nil
	}
	if err != netstack.ErrWouldBlock {
		err = s.ended(err)
	}
	return 0, err
}

// ReadFrom reads from r until io.EOF and writes everything, as io.Copy does. Before
// it waits for r it sends what it has, and it holds no memory while it waits for a
// socket. On Linux the sockets of package net are recognised.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) {
	if n, err, ok := s.readFromSocket(r); ok {
		return n, err
	}
	return s.readFromReader(r)
}

func (s *Stream) readFromReader(r io.Reader) (total int64, err error) {
	size := smallCopySize
	if s.env.Budget.Grow(budget.WriteBuffer, copySize) {
		defer s.env.Budget.Give(budget.WriteBuffer, copySize)
		size = copySize
	}
	b := make([]byte, size)
	for {
		if err := s.Flush(); err != nil {
			return total, s.asReadFrom(err)
		}
		n, rerr := r.Read(b)
		if n > 0 {
			m, err := s.writeAll(b[:n])
			total += int64(m)
			if err != nil {
				return total, err
			}
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, rerr // the reader's
		}
	}
}

// writeAll writes b for ReadFrom, without collecting it.
func (s *Stream) writeAll(b []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	ep, err := s.established(s.wsig, s.stopWriting)
	if err == nil {
		err = s.stopWriting()
	}
	if err != nil {
		return 0, s.opError(opReadFrom, err)
	}
	n, err := s.writeThrough(ep, b)
	s.out.Add(uint64(n))
	return n, s.opError(opReadFrom, err)
}

// asReadFrom gives Flush's error the name of the operation it happened in.
func (s *Stream) asReadFrom(err error) error {
	if e, ok := err.(*net.OpError); ok {
		return s.opError(opReadFrom, e.Err)
	}
	return err
}

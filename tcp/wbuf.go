package tcp

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"l3extract/internal/budget"
	"l3extract/internal/netstack"
)

// writeBuffer holds what small Writes left to be sent together, and the token
// without which nobody may call the engine's Write.
//
// The bytes wait in buf[head:tail]. Appending happens under the stream's mu;
// sending reads a prefix without it, and only the token's holder moves head. The
// token's holder waits for nothing, so whoever finds it taken either leaves, and
// the holder or a flusher does his work, or is a writer and waits to be woken.
//
// Whenever bytes wait and nobody holds the token, either the engine's send buffer
// is full and blocked is set, so that its next Writable event posts the stream,
// or the stream is posted already.
type writeBuffer struct {
	size    int // capacity, 0: no buffer
	segment int // bytes of payload in a full segment

	// The stream's mu guards what follows.

	mem        *[]byte // nil while nothing waits
	head, tail int
	token      bool
	want       bool  // the writer waits for the token
	shut       bool  // no Write is accepted any more; a FIN follows the last byte
	fin        bool  // the engine was told
	last       int64 // nanotime of the last small Write
	since      int64 // about when the oldest waiting byte came
	err        error // of a flush that nobody has been told of
	failed     bool  // a flush failed: nothing is accepted any more

	blocked atomic.Bool // the engine's send buffer was full when last tried
	hasRead atomic.Bool // something was read since the last small Write
}

func (w *writeBuffer) init(size, segment int) {
	w.size, w.segment = max(size, 0), segment
	w.last = nanotime() - int64(quiet)
}

func (w *writeBuffer) waiting() int { return w.tail - w.head }

// segmentSize returns the payload of a full segment to addr. The engine leaves room
// for as many options as can be, 40 bytes with timestamps and SACK. Only the cutting
// of large flushes depends on it: a peer that wants smaller segments costs a short one
// per flush.
func segmentSize(mtu int, addr netip.Addr) int {
	headers := 20 + 20 + 40
	if addr.Is6() && !addr.Is4In6() {
		headers += 20
	}
	return max(mtu-headers, 1)
}

// due tells a flusher whether to send what waits: not at all, all of it, or only
// whole segments of it. It locks mu.
func (w *writeBuffer) due(mu *sync.Mutex, now int64) (due, whole bool) {
	mu.Lock()
	defer mu.Unlock()
	n, age := w.waiting(), now-w.since
	switch {
	case n == 0:
		return true, false // nothing to send, and nothing to look at again
	case w.token:
		return false, false
	case now-w.last >= int64(quiet), age >= 2*int64(hold):
		return true, false
	case age >= int64(hold) && n >= w.segment:
		return true, true
	}
	return false, false
}

// unlock unlocks mu and posts the stream if bytes wait that nobody minds.
func (s *Stream) unlock() {
	w := &s.wb
	orphan := w.tail > w.head && !w.token && !w.blocked.Load()
	s.mu.Unlock()
	if orphan {
		s.post(postFlush)
	}
}

// room returns the free end of the buffer, or nil if there is no memory for one.
// The caller holds mu.
func (s *Stream) roomLocked() []byte {
	w := &s.wb
	if w.mem == nil {
		if !s.env.Budget.Take(budget.WriteBuffer, int64(w.size)) {
			return nil
		}
		w.mem = s.env.Flushers.buffer(w.size)
	}
	return (*w.mem)[w.tail:]
}

// settleLocked moves what waits to the front, or gives an empty buffer back. The
// caller holds mu and the token.
func (s *Stream) settleLocked() {
	w := &s.wb
	switch {
	case w.mem == nil || w.head == 0 && w.tail > 0:
	case w.tail > w.head:
		b := *w.mem
		w.tail = copy(b, b[w.head:w.tail])
		w.head = 0
	default:
		w.head, w.tail = 0, 0
		s.env.Flushers.bufs.Put(w.mem)
		w.mem = nil
		s.env.Budget.Give(budget.WriteBuffer, int64(w.size))
	}
}

// tryFlush sends what waits, unless somebody else is sending. It reports whether
// anything was sent. It never waits.
func (s *Stream) tryFlush(ep *netstack.Endpoint, whole bool) bool {
	s.mu.Lock()
	if s.wb.waiting() == 0 || s.wb.token || ep == nil {
		s.mu.Unlock()
		return false
	}
	s.wb.token = true
	s.mu.Unlock()
	n, _ := s.drain(ep, whole)
	s.release()
	return n > 0
}

// drain sends what waits now, or the whole segments of it, until the engine takes
// no more. The caller holds the token; what is appended meanwhile stays. It
// returns how much was sent and whether the engine's send buffer is full.
func (s *Stream) drain(ep *netstack.Endpoint, whole bool) (sent int, full bool) {
	w := &s.wb
	s.mu.Lock()
	defer s.mu.Unlock()
	k := w.waiting()
	if whole && k >= w.segment {
		k -= k % w.segment
	}
	for armed := false; k > 0; {
		b := (*w.mem)[w.head : w.head+k]
		s.mu.Unlock()
		n, err := ep.Write(b)
		s.mu.Lock()
		w.head += n
		sent += n
		k -= n
		if err != nil && err != netstack.ErrWouldBlock {
			s.failLocked(err)
			break
		}
		if k == 0 {
			break
		}
		if armed && n == 0 {
			full = true
			break
		}
		// An edge between the try and the arming would be lost: try again.
		w.blocked.Store(true)
		armed = true
	}
	if !full {
		w.blocked.Store(false)
	}
	if sent > 0 {
		w.since = nanotime()
	}
	s.settleLocked()
	return sent, full
}

// failLocked notes a failed flush and drops what waits. The caller holds mu and
// the token.
func (s *Stream) failLocked(err error) {
	s.wb.err, s.wb.failed = err, true
	s.wb.head = s.wb.tail
}

// release gives the token back. If the writing was ended meanwhile it sends the
// rest and the FIN first: whoever ended it did not wait for the token.
func (s *Stream) release() {
	s.mu.Lock()
	if s.wb.shut && !s.wb.fin && s.ep.Load() != nil {
		s.wb.fin = true
		s.mu.Unlock()
		s.finish(s.ep.Load())
		s.mu.Lock()
	}
	if s.wb.failed {
		s.wb.head = s.wb.tail
		s.settleLocked()
	}
	s.wb.token = false
	want := s.wb.want
	s.wb.want = false
	s.unlock()
	if want {
		s.wsig.wake()
	}
}

// shutWrite ends writing: what was accepted is sent, then a FIN. It never waits.
// It returns the error of a flush that nobody was told of.
func (s *Stream) shutWrite() error {
	s.mu.Lock()
	err := s.wb.err
	s.wb.err = nil
	again := s.wb.shut
	s.wb.shut = true
	if again || s.wb.token || s.ep.Load() == nil {
		s.mu.Unlock() // the holder of the token, or attach, sends the rest
		return err
	}
	s.wb.token = true
	s.mu.Unlock()
	s.release()
	if err == nil {
		s.mu.Lock()
		err, s.wb.err = s.wb.err, nil
		s.mu.Unlock()
	}
	return err
}

// finish hands over all that waits and the FIN. A full send buffer is made larger
// for what waits: Close must neither wait nor lose it. The caller holds the token, and nothing is appended any more.
func (s *Stream) finish(ep *netstack.Endpoint) {
	_, full := s.drain(ep, false)
	for more := 1; full; more *= 2 { // once, unless SetWriteBuffer made it smaller than its content
		s.mu.Lock()
		n := s.wb.waiting()
		s.mu.Unlock()
		s.widen(ep, more*n)
		_, full = s.drain(ep, false)
	}
	_ = ep.CloseWrite() // fails only if the endpoint ended: its error waits for whoever asks
}

// dropBuffer throws away what waits when the flow ends. err, which may be nil,
// is for the next call if anything was lost.
func (s *Stream) dropBuffer(err error) {
	s.mu.Lock()
	w := &s.wb
	w.failed = true
	if w.waiting() > 0 && w.err == nil {
		w.err = err
	}
	if !w.token { // else the holder's next engine call fails and drops it
		w.head = w.tail
		s.settleLocked()
	}
	s.mu.Unlock()
}

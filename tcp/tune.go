package tcp

import (
	"time"

	"l3extract/internal/netstack"
)

// A stream whose reader takes a whole window within tuneRTTs round trips may be held
// back by it. Below tuneMin the machine's own delays count for more than the path's.
const (
	tuneRTTs = 8
	tuneMin  = 20 * time.Millisecond
)

// tuneReceive counts n bytes that were read. Each time a whole window was, it doubles
// the receive buffer if that was quick: a slow stream has no use for more, and its
// grant would be missing elsewhere. It is called with readMu held.
func (s *Stream) tuneReceive(ep *netstack.Endpoint, n int) {
	if s.consumed += n; s.consumed < s.window {
		return
	}
	now := nanotime()
	took := time.Duration(now - s.windowAt)
	s.consumed, s.windowAt = 0, now
	if took <= tuneMin || took <= tuneRTTs*ep.Info().RTT {
		s.growReceive(ep, 0)
	}
}

// growReceive doubles the receive buffer, at least to want, as far as the Config
// and the budget allow.
func (s *Stream) growReceive(ep *netstack.Endpoint, want int) {
	s.tuneMu.Lock()
	defer s.tuneMu.Unlock()
	size := min(max(2*s.rbuf, want), s.cfg.MaxReceiveBuffer)
	if s.rfixed || s.returned || size <= s.rbuf || !s.env.Budget.Promise(s.rbuf, size) {
		return
	}
	s.rbuf = size
	s.window = size / 2 // of which the peer sees half
	ep.SetReceiveBuffer(size)
}

// tuneSend doubles the send buffer of a writer that would have to wait, if the
// connection could have more in flight than the buffer holds. It looks once per
// buffer's worth of bytes, and reports whether there is room now. It is called
// with writeMu held.
func (s *Stream) tuneSend(ep *netstack.Endpoint) bool {
	s.tuneMu.Lock()
	size, fixed := s.sbuf, s.sfixed || s.returned
	s.tuneMu.Unlock()
	if fixed || s.sent < size || size >= s.cfg.MaxSendBuffer {
		return false
	}
	s.sent = 0
	// The engine frees what is acknowledged, so a buffer of twice the congestion
	// window never starves the sender; more would only wait in it.
	if size >= 2*int(ep.Info().Cwnd)*s.wb.segment {
		return false
	}
	size = min(2*size, s.cfg.MaxSendBuffer)
	s.tuneMu.Lock()
	defer s.tuneMu.Unlock()
	if s.sfixed || s.returned || size <= s.sbuf || !s.env.Budget.Promise(s.sbuf, size) {
		return false
	}
	s.sbuf = size
	ep.SetSendBuffer(size)
	return true
}

// widen raises the engine's limit beyond what was promised, for a last write.
func (s *Stream) widen(ep *netstack.Endpoint, n int) {
	s.tuneMu.Lock()
	s.sfixed = true
	ep.SetSendBuffer(ep.SendBuffer() + n)
	s.tuneMu.Unlock()
}

// resizeLocked grants a buffer that the application asked for. The caller holds tuneMu.
func (s *Stream) resizeLocked(granted *int, size int) bool {
	switch {
	case s.returned:
		return true
	case size > *granted && !s.env.Budget.Demand(*granted, size):
		return false
	case size < *granted:
		s.env.Budget.Withdraw(*granted, size)
	}
	*granted = size
	return true
}

package tcp

import (
	"l3extract/internal/budget"
	"l3extract/internal/flow"
)

// Held implements flow.Holder: what the stream itself costs, what it has in the engine,
// and what waits to be written.
func (s *Stream) Held() flow.Held {
	h := flow.Held{Own: budget.StreamCost, Data: s.kept.Load(), Source: s.source.Addr(), Moved: s.moved}
	if ep := s.ep.Load(); ep != nil {
		n, at := ep.Held()
		h.Data, h.Moved = h.Data+n, max(h.Moved, at)
	}
	s.mu.Lock()
	if s.wb.mem != nil {
		h.Data += int64(s.wb.size)
	}
	s.mu.Unlock()
	return h
}

// Keep counts n bytes more, or less, that the loop keeps for the stream.
func (d *Driven) Keep(n int) {
	d.kept.Add(int64(n))
	if n > 0 {
		d.env.Budget.Hold(budget.WriteBuffer, int64(n))
	} else {
		d.env.Budget.Give(budget.WriteBuffer, -int64(n))
	}
}

package udp

import (
	"l3extract/internal/budget"
	"l3extract/internal/flow"
)

// Held implements flow.Holder. Sockets from Listen and Dial are the application's own:
// they hold nothing that could be had by ending them.
func (s *Socket) Held() flow.Held {
	if s.kind != accepted {
		return flow.Held{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := flow.Held{Own: budget.SocketCost, Data: int64(s.queue.bytes), Source: s.peer.Addr(), Moved: s.filled}
	if s.queue.count == 0 {
		h.Moved = s.t.memory.now() // it has an idle timeout of its own
	}
	return h
}

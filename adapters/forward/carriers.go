package forward

import (
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"l3extract/adapters/internal/hop"
)

// carriers are the sockets of this host on which something depends: a dial, an upstream
// socket that a proxy lends. All methods may be called at once.
type carriers struct {
	mu  sync.Mutex // a leaf
	all []syscall.RawConn
}

// manyCarriers is when those that are closed are forgotten: an outbound may open and close
// some for as long as it is used.
const manyCarriers = 8

// add is for outbound.WithSocket.
func (s *carriers) add(c syscall.RawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= manyCarriers {
		s.all = slices.DeleteFunc(slices.Clone(s.all), isClosed) // others read the old slice
	}
	s.all = append(s.all, c)
}

func isClosed(c syscall.RawConn) bool { return c.Control(func(uintptr) {}) != nil }

// lost reports whether one of them that is open has lost its way, as EndVia asks.
func (s *carriers) lost(lost func(local netip.Addr, index int) bool) bool {
	s.mu.Lock()
	all := s.all
	s.mu.Unlock()
	return slices.ContainsFunc(all, func(c syscall.RawConn) bool {
		var local netip.Addr
		var index int
		err := c.Control(func(fd uintptr) { local, index = localAddr(int(fd)), hop.BoundTo(int(fd)) })
		return err == nil && local.IsValid() && lost(local, index)
	})
}

//go:build !linux

package forward

import (
	"context"
	"net/netip"
	"syscall"
)

// evented, upstream and upstreams are for Linux.
type (
	evented   struct{}
	upstream  struct{}
	upstreams struct{}
)

func (s *socket) begin(context.Context) bool { return false }
func (s *socket) letGo(context.Context) bool { return false }
func (s *socket) adopt(*outlet) bool         { return false }

func (u *upstream) send([]byte, netip.AddrPort, uint8) error { return syscall.ENOTSUP }
func (u *upstream) close()                                   {}

func (u *upstreams) close() {}

//go:build !linux

package forward

import (
	"context"
	"net"
	"net/netip"

	"l3extract/adapters/outbound"
	"l3extract/tcp"
)

// loop is Linux' alone: elsewhere each connection has two goroutines.
type loop struct{}

func newLoop(*session) *loop { return nil }

func (*loop) close() {}

func (*loop) connects(netip.AddrPort, netip.AddrPort) bool { return false }

func (*loop) take(context.Context, *tcp.Stream, outbound.Flow, *Target) bool { return false }

func (*loop) adopt(*tcp.Stream, net.Conn) bool { return false }

//go:build !linux

package forward

import (
	"context"
	"net"

	"l3extract/adapters/outbound"
	"l3extract/tcp"
)

// loop is Linux' alone: elsewhere each connection has two goroutines.
type loop struct{}

func newLoop(*session) *loop { return nil }

func (*loop) close() {}

func (*loop) take(context.Context, *tcp.Stream, outbound.Flow, *Target) bool { return false }

func (*loop) adopt(*tcp.Stream, net.Conn) bool { return false }

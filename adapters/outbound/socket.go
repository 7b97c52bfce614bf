package outbound

import (
	"context"
	"syscall"
)

type socketKey struct{}

// WithSocket returns a context that has told called with each socket of this host on which
// what the context is for depends: by direct.Dialer, at the end of whatever chain of
// outbounds, before it is connected or bound, and by what takes a connection out of a pool.
// Told must return at once, and may be called at once, and later by what opens
// connections as it goes.
func WithSocket(ctx context.Context, told func(c syscall.RawConn)) context.Context {
	return context.WithValue(ctx, socketKey{}, told)
}

// Socket tells whoever asked for it by WithSocket of a socket.
func Socket(ctx context.Context, c syscall.RawConn) {
	if told, ok := ctx.Value(socketKey{}).(func(c syscall.RawConn)); ok {
		told(c)
	}
}

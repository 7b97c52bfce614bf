package outbound

import (
	"context"
	"syscall"
)

type socketKey struct{}

// WithSocket returns a context that has told called with each socket that this host opens
// on behalf of what the context is for, before it is connected or bound: by direct.Dialer,
// at the end of whatever chain of outbounds. Told must return at once, and may be called
// at once. What comes out of a pool was opened for nobody.
func WithSocket(ctx context.Context, told func(c syscall.RawConn)) context.Context {
	return context.WithValue(ctx, socketKey{}, told)
}

// Socket tells whoever asked for it by WithSocket of a socket.
func Socket(ctx context.Context, c syscall.RawConn) {
	if told, ok := ctx.Value(socketKey{}).(func(c syscall.RawConn)); ok {
		told(c)
	}
}

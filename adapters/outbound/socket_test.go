package outbound

import (
	"context"
	"syscall"
	"testing"
)

func TestSocket(t *testing.T) {
	var got []syscall.RawConn
	ctx, cancel := context.WithCancel(WithSocket(t.Context(), func(c syscall.RawConn) { got = append(got, c) }))
	defer cancel()
	Socket(t.Context(), nil) // nobody has asked
	Socket(ctx, nil)
	if len(got) != 1 {
		t.Errorf("told %d times", len(got))
	}
}

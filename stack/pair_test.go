package stack

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/tcp"
)

// The addresses of the two stacks of a pair.
var (
	clientAddrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}
	serverAddrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}
)

// background is for what a test ends by closing stacks.
var background = context.Background()

// run starts s and ends it with the test.
func run(t testing.TB, s *Stack) *Stack {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != nil && s.link.Err() == nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// newStack returns a Stack on conn that runs until the test ends.
func newStack(t testing.TB, conn l3conn.Conn, cfg Config) *Stack {
	t.Helper()
	cfg.Shards = shards
	s, err := New(conn, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

// pairOn returns a client and a server on the two ends of a pipe.
func pairOn(t testing.TB, x, y l3conn.Conn, client, server Config) (c, s *Stack) {
	t.Helper()
	if client.Addrs == nil {
		client.Addrs = clientAddrs
	}
	if server.Addrs == nil {
		server.Addrs = serverAddrs
	}
	return newStack(t, x, client), newStack(t, y, server)
}

// pair is pairOn over a plain pipe.
func pair(t testing.TB, client, server Config) (c, s *Stack) {
	t.Helper()
	x, y := l3conn.Pipe(0, 0)
	return pairOn(t, x, y, client, server)
}

// soon is a context for what must happen, with room for a slow machine.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// contextSoonOver is a context whose deadline passes while nothing happens.
func contextSoonOver(testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(background, 50*time.Millisecond)
}

// causeOf returns the cause of a stream's end.
func causeOf(s *tcp.Stream) Cause {
	var c Cause
	errors.As(context.Cause(s.Context()), &c)
	return c
}

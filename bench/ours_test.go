package bench

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"l3extract/l3conn"
	"l3extract/stack"
)

// world is two connected stacks: what is dialled at client comes out at server.
type world struct {
	dial   func(to netip.AddrPort) (net.Conn, error)
	accept func() (net.Conn, error)
}

var (
	clientAddrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}
	serverAddrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}
)

// The kinds of pipes: one packet per call, several, and segments of 64 KiB.
func plain() (x, y l3conn.Conn)    { return l3conn.Pipe(0, 0) }
func batches() (x, y l3conn.Conn)  { return l3conn.BatchPipe(0, 0, 64) }
func segments() (x, y l3conn.Conn) { return l3conn.SegmentPipe(nil) }

// ours is two Stacks on a pipe.
func ours(b *testing.B, pipe func() (x, y l3conn.Conn), cfg stack.Config) world {
	b.Helper()
	x, y := pipe()
	client := run(b, x, cfg, clientAddrs)
	server := run(b, y, cfg, serverAddrs)
	streams := server.TCP().Streams()
	return world{
		dial: func(to netip.AddrPort) (net.Conn, error) {
			return client.DialContext(context.Background(), "tcp", to.String())
		},
		accept: func() (net.Conn, error) {
			st, ok := <-streams
			if !ok {
				return nil, net.ErrClosed
			}
			return st, nil
		},
	}
}

// run starts a Stack that ends with the benchmark.
func run(b *testing.B, conn l3conn.Conn, cfg stack.Config, addrs []netip.Prefix) *stack.Stack {
	b.Helper()
	cfg.Addrs = addrs
	cfg.TCP.AcceptQueue = 1 << 16
	cfg.TCP.MaxHandshakesPerSource, cfg.TCP.MaxHandshakesPerDestination = -1, -1
	cfg.MemoryLimit = -1
	s, err := stack.New(conn, &cfg)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	b.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return s
}

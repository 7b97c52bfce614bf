package forward_test

import (
	"context"
	"log"
	"net/netip"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

// A stack whose clients reach the Internet but not the private networks around the
// host, marked so that the host's routes do not lead it back into the tunnel.
func ExampleServer() {
	conn, _ := l3conn.Pipe(0, 0) // a TUN, mostly
	s, err := stack.New(conn, &stack.Config{TCP: tcp.Config{LazyHandshake: true}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a program would go on until it is told to stop

	srv := &forward.Server{
		Dialer: &direct.Dialer{Mark: 0x6c33},
		Policy: forward.Policy{DenyPrivate: true},
	}
	served := make(chan error)
	go func() { served <- srv.Serve(ctx, s) }()
	_ = s.Run(ctx)
	<-served
}

// One address stands for a server on the host's loopback, which is otherwise out of
// reach.
func ExampleServer_route() {
	host := netip.MustParseAddr("10.0.2.2")
	srv := &forward.Server{
		Route: func(_ context.Context, f outbound.Flow) (forward.Target, error) {
			if f.Destination.Addr() == host {
				addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), f.Destination.Port())
				return forward.Target{Addr: addr, Trusted: true}, nil
			}
			return forward.Target{}, nil
		},
		RouteNeverWaits: true,
	}
	_ = srv // srv.Serve(ctx, s)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/l3conn/carrier"
	"l3extract/stack"
)

// quiet is for servers that would write of every stranger.
var quiet = log.New(io.Discard, "", 0)

// exit takes packets from one entry, which may come and go, and dials for it.
func exit(ctx context.Context, o *options, stdout io.Writer) error {
	keys, err := loadKeys(o.keys, exitName, entryName)
	if err != nil {
		return err
	}
	conn, err := carrier.New(&carrier.Config{Limit: -1}) // the entry may be away for as long as it likes
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := stack.New(conn, new(stack.Config))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on %v\n", listener.Addr())
	accept := acceptTLS
	if o.websocket {
		accept = acceptWebSockets
	}
	server := &forward.Server{RouteNeverWaits: true, Route: func(_ context.Context, f outbound.Flow) (forward.Target, error) {
		if to, ok := o.maps[f.Destination]; ok {
			return forward.Target{Addr: to, Trusted: true}, nil
		}
		return forward.Target{}, nil
	}}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(inner) })
	g.Go(func() error { return server.Serve(inner, s) })
	g.Go(func() error {
		return accept(listener, keys, func(c l3conn.Conn) {
			if err := conn.Replace(c); err != nil { // the end
				_ = l3conn.Probe(c).Closer.Close() // nobody else has it
			}
		})
	})
	g.Go(func() error {
		<-inner.Done()
		return errors.Join(listener.Close(), context.Cause(inner))
	})
	err = g.Wait()
	if ctx.Err() != nil { // it was asked to end
		return nil
	}
	return err
}

// Command resolver asks for names through a Stack: a net.Resolver whose Dial is
// the Stack's own DialContext, and then the Stack itself, which with stack.DNS
// dials by name. No query leaves this process; a DNS server and whoever is
// dialled live in a second Stack at the other end of a link of raw IP packets.
//
//	go run ./examples/resolver
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"l3extract/examples/internal/attach"
	"l3extract/l3conn"
	"l3extract/stack"
)

func main() { attach.Main(run) }

// nameServer is the address of the DNS server.
var nameServer = netip.MustParseAddrPort("10.0.0.53:53")

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	near, far := l3conn.Pipe(0, 0)
	s, err := stack.New(near, &stack.Config{
		Addrs:    []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
		Resolver: stack.DNS(nameServer), // without it DialContext refuses names: the host's resolver would be a leak
	})
	if err != nil {
		return err
	}
	world, err := stack.New(far, &stack.Config{Addrs: []netip.Prefix{netip.PrefixFrom(nameServer.Addr(), 24)}})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return world.Run(ctx) })
	if err := serve(ctx, world, g); err != nil {
		return errors.Join(err, world.Close(), s.Close(), g.Wait())
	}
	g.Go(func() error {
		err := resolve(ctx, s, stdout)
		return errors.Join(err, world.Close(), s.Close())
	})
	return g.Wait()
}

func resolve(ctx context.Context, s *stack.Stack, stdout io.Writer) error {
	// For code that takes a *net.Resolver.
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.DialContext(ctx, "udp", nameServer.String())
	}}
	for _, name := range []string{"www.example.", "four.example.", "none.example."} {
		addrs, err := resolver.LookupNetIP(ctx, "ip", name)
		if notFound := (*net.DNSError)(nil); errors.As(err, &notFound) && notFound.IsNotFound {
			fmt.Fprintln(stdout, name, "does not exist")
			continue
		}
		if err != nil {
			return err
		}
		slices.SortFunc(addrs, netip.Addr.Compare)
		fmt.Fprintln(stdout, name, "is", addrs)
	}
	// For whoever dials.
	c, err := s.DialContext(ctx, "tcp", "four.example.:80")
	if err != nil {
		return err
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "dialled four.example.:80, got %v: %s\n", c.RemoteAddr(), said)
	return nil
}

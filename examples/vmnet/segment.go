package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/l3conn/ether"
	"l3extract/stack"
)

const dnsPort = 53

// segment is the network of one carrier.
func (s *server) segment(ctx context.Context, carrier l3conn.Conn, name string) error {
	cfg := s.o.ether
	given := make(chan ether.Lease, 16) // what finds it full is not logged
	cfg.OnLease = func(l ether.Lease) {
		select {
		case given <- l:
		default:
		}
	}
	gate, err := ether.New(carrier, &cfg)
	if err != nil {
		return errors.Join(err, l3conn.Probe(carrier).Closer.Close())
	}
	defer gate.Close()
	c := &stack.Config{Addrs: gate.Addrs(), Logger: s.logger}
	c.TCP.LazyHandshake = true // what cannot be dialled is refused as if there were nothing in between
	st, err := stack.New(gate, c)
	if err != nil {
		return err
	}
	st.TCP() // from here on flows wait for Serve
	st.UDP()
	st.ICMP()
	f := &forward.Server{
		Dialer: s.dialer, Policy: s.policy(), Logger: s.logger,
		Route: s.route(gate.Addrs()), RouteNeverWaits: true,
	}

	// All end with the stack, and no sooner: ctx begins the drain.
	var g, telling errgroup.Group
	telling.Go(func() error {
		for l := range given {
			s.logger.Info("lease", "on", name, "addr", l.Addr, "mac", l.MAC, "host", l.Host)
		}
		return nil
	})
	g.Go(func() error { return st.Run(context.WithoutCancel(ctx)) })
	g.Go(func() error { return f.Serve(context.WithoutCancel(ctx), st) })
	select {
	case <-st.Done():
	case <-ctx.Done():
		s.drain(st, name)
	}
	if err = g.Wait(); errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		err = nil // qemu has ended, with or without what we had to say
	}
	err = errors.Join(err, gate.Close())
	close(given)
	_ = telling.Wait()
	s.total.add(s.logger, name, gate, st, f)
	return err
}

// drain ends the stack. Connections that had to be reset are no failure: whoever set
// -drain has said how long they count.
func (s *server) drain(st *stack.Stack, name string) {
	s.logger.Info("draining", "on", name, "for", s.o.drain)
	ctx, cancel := context.WithTimeout(context.Background(), s.o.drain)
	defer cancel()
	if err := st.Shutdown(ctx); err != nil {
		s.logger.Warn("connections were reset", "on", name, "err", err)
	}
}

// policy keeps guests from what is not for them: beside what the zero Policy refuses, the
// segment's own networks, whose packets this host would send to anybody.
func (s *server) policy() forward.Policy {
	p := forward.Policy{DenyPrivate: s.o.private}
	for _, a := range s.o.ether.Addrs {
		p.Deny = append(p.Deny, a.Masked())
	}
	return p
}

// route sends what is for port 53 of the gateway to the server of names.
func (s *server) route(own []netip.Prefix) func(context.Context, outbound.Flow) (forward.Target, error) {
	return func(_ context.Context, f outbound.Flow) (forward.Target, error) {
		dst := f.Destination
		if f.Network == "icmp" || dst.Port() != dnsPort ||
			!slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr() == dst.Addr() }) {
			return forward.Target{}, nil
		}
		return forward.Target{Trusted: true, Dialer: s.names, Handler: s.names}, nil
	}
}

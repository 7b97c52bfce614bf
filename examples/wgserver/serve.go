package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/l3conn/wgtun"
	"l3extract/stack"
)

// server is a WireGuard device with a Stack behind it, and what dials out for that.
type server struct {
	cfg     *config
	o       *options
	logger  *slog.Logger
	counts  *counts
	watch   *watch
	device  *device.Device
	stack   *stack.Stack
	forward *forward.Server
}

// newServer opens the UDP port. The caller calls serve, or close if it does not.
func newServer(cfg *config, o *options, logger *slog.Logger) (*server, error) {
	s := &server{cfg: cfg, o: o, logger: logger, counts: new(counts)}
	s.watch = newWatch(cfg, s.counts, logger)
	s.watch.where = s.where
	end, tunnel := wgtun.Pair(&wgtun.Config{MTU: cfg.mtu})
	c := &stack.Config{Addrs: cfg.addrs, SourceKey: byPeer(cfg), Logger: logger}
	c.TCP.LazyHandshake = true // what cannot be dialled is refused as if there were no tunnel
	c.TCP.MaxHandshakesPerDestination = popular(len(cfg.peers))
	var err error
	if s.stack, err = stack.New(end, c); err != nil {
		return nil, err
	}
	s.stack.TCP() // from here on flows wait for Serve
	s.stack.UDP()
	s.stack.ICMP()
	s.forward = &forward.Server{
		Dialer: &direct.Dialer{Interface: o.via}, Policy: policy(cfg, o),
		Route: newNames(cfg).route, Logger: logger,
		MaxDialsPerDestination: popular(len(cfg.peers)),
	}
	s.device = device.NewDevice(countedTUN{tunnel, s.counts}, countedBind{conn.NewDefaultBind(), s.counts}, s.watch.device())
	if err = s.device.IpcSet(cfg.device()); err == nil {
		err = s.device.Up()
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("WireGuard on UDP port %d: %w", cfg.port, err)
	}
	return s, nil
}

// popular is how many connections to one destination may be beginning: more than for
// one client, since all peers may like the same host. Each peer has its own limits.
func popular(peers int) int {
	const each, most = 8, forward.DefaultMaxDials / 2
	return min(forward.DefaultMaxDialsPerDestination+each*peers, most)
}

// close is for a server that does not serve.
func (s *server) close() {
	_ = s.stack.Close()
	s.device.Close()
}

// policy keeps clients from what is not for them: beside what the zero Policy refuses,
// the tunnel's own networks, whose packets this host would send to anybody.
func policy(cfg *config, o *options) forward.Policy {
	p := forward.Policy{DenyPrivate: o.private}
	for _, a := range cfg.addrs {
		p.Deny = append(p.Deny, a.Masked())
	}
	for _, peer := range cfg.peers {
		for _, a := range peer.allowed {
			if a.Bits() > 0 {
				p.Deny = append(p.Deny, a)
			}
		}
	}
	return p
}

// byPeer makes the limits per source those of a peer, whatever addresses it has.
func byPeer(cfg *config) func(netip.Addr) netip.Prefix {
	peers := make(map[netip.Prefix]netip.Prefix) // the first network of whom each belongs to
	var lengths [2][129]bool
	for _, peer := range cfg.peers {
		for _, a := range peer.allowed {
			peers[a] = peer.allowed[0]
			lengths[a.Addr().BitLen()/128][a.Bits()] = true
		}
	}
	return func(a netip.Addr) netip.Prefix {
		for bits := a.BitLen(); bits >= 0; bits-- {
			if !lengths[a.BitLen()/128][bits] {
				continue
			}
			if p, err := a.Prefix(bits); err == nil {
				if owner, ok := peers[p]; ok {
					return owner
				}
			}
		}
		return netip.PrefixFrom(a, a.BitLen())
	}
}

// serve forwards until ctx ends and open connections have finished or run out of
// time, or until the device fails.
func (s *server) serve(ctx context.Context) error {
	var g, watching errgroup.Group
	watched, stop := context.WithCancel(context.Background())
	watching.Go(func() error { s.watch.run(watched); return nil })
	// Both end with the stack, and no sooner: ctx begins the drain.
	g.Go(func() error { return s.stack.Run(context.WithoutCancel(ctx)) })
	g.Go(func() error { return s.forward.Serve(context.WithoutCancel(ctx), s.stack) })
	s.logger.Info("serving", "port", s.port(), "peers", len(s.cfg.peers), "addresses", s.cfg.addrs, "mtu", s.stack.MTU())
	select {
	case <-s.stack.Done():
	case <-ctx.Done():
		s.drain()
	}
	err := g.Wait()
	s.report()
	s.device.Close()
	stop()
	return errors.Join(err, watching.Wait())
}

// drain ends the stack. Connections that had to be reset are no failure: whoever set
// -drain has said how long they count.
func (s *server) drain() {
	s.logger.Info("draining", "for", s.o.drain)
	ctx, cancel := context.WithTimeout(context.Background(), s.o.drain)
	defer cancel()
	if err := s.stack.Shutdown(ctx); err != nil {
		s.logger.Warn("connections were reset", "err", err)
	}
}

// report writes what there was: a line for each peer that came, and one for all.
func (s *server) report() {
	came := 0
	for _, p := range s.peers() {
		if p.last.IsZero() {
			continue
		}
		came++
		name := shortName(p.public)
		s.logger.Info("peer", "peer", name, "allowed", s.watch.names[name], "from", p.endpoint,
			"in", p.in, "out", p.out, "handshake", p.last.UTC().Format("2006-01-02T15:04:05Z"))
	}
	c, f := s.counts, s.forward.Stats()
	var refused []any
	for i := range c.refused {
		if n := c.refused[i].Load(); n > 0 {
			refused = append(refused, slog.Uint64(refusalNames[i], n))
		}
	}
	s.logger.Info("summary", "peers", came, "handshakes", c.completed.Load(), "packets", c.packets.Load(),
		"streams", f.Streams, "dialFailed", f.DialsFailed, "refusedByPolicy", f.PolicyStreams+f.PolicyDatagrams+f.PolicyPings,
		"datagramsOut", f.DatagramsOut, "datagramsIn", f.DatagramsIn, "pings", f.Pings,
		"notBelieved", c.rejected(), "handshakesLost", c.handshakesLost(), "noWireGuard", c.unknown.Load(),
		slog.Group("refused", refused...), "drops", s.stack.Stats().Drops)
}

// resolve finds the addresses of endpoints that are names.
func (c *config) resolve(ctx context.Context) error {
	for i := range c.peers {
		p := &c.peers[i]
		if p.endpoint == "" {
			continue
		}
		host, port, err := net.SplitHostPort(p.endpoint)
		if err != nil {
			return err
		}
		if _, err := netip.ParseAddr(host); err == nil {
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return fmt.Errorf("line %d: Endpoint: %w", p.line, err)
		}
		p.endpoint = net.JoinHostPort(addrs[0].Unmap().String(), port)
	}
	return nil
}

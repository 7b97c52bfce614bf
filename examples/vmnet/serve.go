package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/direct"
	"l3extract/adapters/dns"
	"l3extract/l3conn"
	"l3extract/l3conn/ether"
)

// server serves segments until it is told to end.
type server struct {
	o        *options
	logger   *slog.Logger
	dialer   *direct.Dialer
	upstream dns.Upstream
	names    *dns.Server
	places   chan struct{} // cap -guests
	total    totals
}

func newServer(o *options, logger *slog.Logger) (*server, error) {
	s := &server{o: o, logger: logger, dialer: &direct.Dialer{Interface: o.via}, places: make(chan struct{}, o.guests)}
	asked := &dns.Options{Dialer: s.dialer, PacketListener: s.dialer}
	var err error
	if o.dns == "" {
		s.upstream = dns.System(nil, asked)
	} else if s.upstream, err = dns.ParseUpstream(o.dns, asked); err != nil {
		return nil, err
	}
	if s.names, err = dns.New(&dns.Config{Upstream: s.upstream, Logger: logger}); err != nil {
		return nil, errors.Join(err, s.upstream.Close())
	}
	return s, nil
}

// Close ends what answers for names.
func (s *server) Close() error { return errors.Join(s.names.Close(), s.upstream.Close()) }

// serve serves until ctx ends and open connections have finished or run out of time.
func (s *server) serve(ctx context.Context) (err error) {
	switch {
	case s.o.tap != "":
		var tap l3conn.Conn
		if tap, err = openTap(s.o.tap); err != nil {
			return err
		}
		name := s.o.tap
		if t, ok := tap.(interface{ Name() string }); ok {
			name = t.Name()
		}
		s.logger.Info("serving", "tap", name, "gateway", s.o.ether.Addrs)
		err = s.segment(ctx, tap, name)
	case s.o.peer != "":
		var c l3conn.Conn
		if c, err = grams(s.o.listen, s.o.peer); err != nil {
			return err
		}
		s.logger.Info("serving", "listen", s.o.listen, "peer", s.o.peer, "gateway", s.o.ether.Addrs)
		err = s.segment(ctx, c, s.o.peer)
	default:
		err = s.accept(ctx)
	}
	s.total.report(s.logger)
	return err
}

// accept serves each stream as a segment of its own.
func (s *server) accept(ctx context.Context) error {
	l, err := listen(ctx, s.o.listen)
	if err != nil {
		return err
	}
	s.logger.Info("serving", "listen", s.o.listen, "gateway", s.o.ether.Addrs)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var segments errgroup.Group
	var number atomic.Uint64
	for {
		c, err := l.Accept()
		if err != nil {
			_ = l.Close()
			if ctx.Err() != nil {
				err = nil
			}
			return errors.Join(err, segments.Wait())
		}
		select {
		case s.places <- struct{}{}:
		default:
			s.logger.Warn("refused", "from", from(c), "why", fmt.Sprintf("%d guests are here already", s.o.guests))
			s.total.refused.Add(1)
			_ = c.Close()
			continue
		}
		name := fmt.Sprintf("guest %d", number.Add(1))
		s.logger.Info("guest", "name", name, "from", from(c))
		segments.Go(func() error {
			defer func() { <-s.places }()
			carrier, err := ether.Stream(c)
			if err == nil {
				err = s.segment(ctx, carrier, name)
			} else {
				_ = c.Close()
			}
			if err != nil {
				s.logger.Warn("guest is gone", "name", name, "err", err)
			}
			return nil // the others' network goes on
		})
	}
}

// from is where a stream comes from, as far as it says so.
func from(c net.Conn) string {
	a := c.RemoteAddr()
	if s := a.String(); s != "" && s != "@" {
		return s
	}
	return a.Network()
}

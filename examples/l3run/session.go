package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/direct"
	"l3extract/adapters/dns"
	"l3extract/adapters/forward"
	"l3extract/l3conn"
	"l3extract/l3conn/pcap"
	"l3extract/stack"
)

// session is a running stack with all that serves it: streams and sockets are
// forwarded, queries for names among them answered.
type session struct {
	stack  *stack.Stack
	tee    *pcap.Tee // nil without -pcap
	log    *flowLog  // nil without -v
	cancel context.CancelFunc
	group  *errgroup.Group // the stack and its forwarder; end awaits it
	way    *way
	ended  func() error

	upstreams upstreams
}

// newSession starts a session on conn. The caller keeps conn, and closes it once
// end has returned.
func newSession(conn l3conn.Conn, o *options, in instead) (*session, error) {
	s := new(session)
	s.ended = sync.OnceValue(s.stop)
	if o.capture != "" {
		tee, err := pcap.Create(conn, o.capture, nil)
		if err != nil {
			return nil, &setupError{Stage: stageCapture, Err: err}
		}
		s.tee, conn = tee, tee
	}
	cfg := &stack.Config{MTU: o.mtu}
	cfg.TCP.LazyHandshake = true // what cannot be dialled is refused as it would be outside
	for _, a := range stackAddrs {
		cfg.Addrs = append(cfg.Addrs, netip.PrefixFrom(a, a.BitLen()))
	}
	var answered func(dns.Answer)
	if o.verbose {
		s.log = newFlowLog(os.Stderr)
		cfg.Trace.Close, answered = s.log.flow, s.log.answer
	}
	var err error
	if s.way, err = newWay(o, in, &direct.Dialer{Control: s.upstreams.track}, answered); err != nil {
		return nil, &setupError{Stage: stageProxy, Err: errors.Join(err, s.end())}
	}
	s.way.pin(&cfg.Trace)
	if s.stack, err = stack.New(conn, cfg); err != nil {
		return nil, &setupError{Stage: stageStack, Err: errors.Join(err, s.end())}
	}
	s.start()
	return s, nil
}

func (s *session) start() {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.group, ctx = errgroup.WithContext(ctx)
	s.group.Go(func() error { return s.stack.Run(ctx) })

	// From here on clients wait for Serve, whose goroutine a fast command would be
	// ahead of.
	s.stack.TCP()
	s.stack.UDP()
	s.stack.ICMP()
	server := &forward.Server{
		Dialer: s.way.dialer, Route: s.way.route, RouteNeverWaits: true,
		Logger: slog.New(newWarnings(os.Stderr)),
	}
	s.group.Go(func() error { return server.Serve(ctx, s.stack) })
}

// end stops the session and returns when nothing of it runs any more. Flows that
// are open are reset. It may be called again and returns the same.
func (s *session) end() error { return s.ended() }

func (s *session) stop() error {
	var err error
	if s.stack != nil {
		err = s.stack.Close()
	}
	if s.group != nil {
		err = errors.Join(err, s.group.Wait())
		s.cancel()
	}
	if s.way != nil {
		err = errors.Join(err, s.way.Close())
	}
	if s.tee != nil {
		err = errors.Join(err, s.tee.Stop())
	}
	if s.log != nil {
		s.log.Close()
	}
	return err
}

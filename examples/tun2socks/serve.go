package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// serve forwards until ctx ends and open flows have finished or run out of time,
// or until the interface fails.
func serve(ctx context.Context, o *options, log io.Writer) (err error) {
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: o.level}))
	device, err := open(o)
	if err != nil {
		return err
	}
	if o.queue > 0 {
		logger = logger.With("pid", os.Getpid())
		ctx = untilEOF(ctx)
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	cfg := &stack.Config{Logger: logger}
	limitMemory(cfg, o.memory)
	cfg.TCP.LazyHandshake = true // what cannot be dialled is refused as if there were no TUN
	memory := newTrimmer(o.memory)
	defer memory.stop()
	cfg.Trace.Open, cfg.Trace.Close = memory.opened, memory.closed
	s, err := stack.New(device, cfg)
	if err != nil {
		return err
	}
	s.TCP() // from here on flows wait for Serve
	s.UDP()
	s.ICMP()
	server := &forward.Server{Dialer: &direct.Dialer{Mark: o.mark, Interface: o.via}, Logger: logger}

	// Both end with the stack, and no sooner: ctx begins the drain.
	var g errgroup.Group
	g.Go(func() error { return s.Run(context.WithoutCancel(ctx)) })
	g.Go(func() error { return server.Serve(context.WithoutCancel(ctx), s) })
	logger.Info("serving", "device", device.Name(), "mtu", s.MTU(), "proxy", "direct://")
	select {
	case <-s.Done():
	case <-ctx.Done():
		drain(s, o, logger)
	}
	return g.Wait()
}

// open opens the interface, or takes over the queue that a worker has been given.
func open(o *options) (*tun.Device, error) {
	if o.queue > 0 {
		return tun.FromFD(o.queue, o.mtu)
	}
	return tun.Open(&tun.Config{Name: o.device, MTU: o.mtu})
}

// untilEOF is ctx, ended when standard input ends. Its goroutine ends with the process.
func untilEOF(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // an error is an end, too
	}()
	return ctx
}

// drain ends s. Flows that had to be reset are no failure: whoever set -drain has
// said how long they count.
func drain(s *stack.Stack, o *options, logger *slog.Logger) {
	logger.Info("draining", "for", o.drain)
	ctx, cancel := context.WithTimeout(context.Background(), o.drain)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		logger.Warn("connections were reset", "err", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"l3extract/adapters/autoroute"
	"l3extract/adapters/control"
	"l3extract/adapters/dns"
	"l3extract/adapters/fakeip"
	"l3extract/adapters/forward"
	"l3extract/adapters/netwatch"
	"l3extract/adapters/proxyurl"
	"l3extract/adapters/router"
	"l3extract/examples/tun2socks/internal/config"
	"l3extract/examples/tun2socks/internal/logs"
	"l3extract/examples/tun2socks/internal/status"
	"l3extract/examples/tun2socks/internal/systemd"
	"l3extract/examples/tun2socks/internal/ways"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// program is a tun2socks that runs. Its parts are made by serve, in the order in which they
// need each other, and ended in the opposite one.
type program struct {
	in      *config.Invocation
	args    []string
	log     *logs.Log
	screen  *status.Log // what is logged while -status has the terminal; else nil
	stderr  io.Writer
	started time.Time

	name   string // of the interface that workers share
	device *tun.Device
	stack  *stack.Stack
	server *forward.Server
	router *router.Router
	dns    *dns.Server       // nil: DNS is no business of ours
	pool   *fakeip.Pool      // nil: no fake addresses
	routes *autoroute.Routes // nil: the host's routes are left alone
	watch  *netwatch.Monitor // nil: -interface is not auto
	causes control.Causes
	flows  *logs.File // nil: flows are logged at level debug only

	mu      sync.Mutex // a leaf
	current *config.Config
	ways    *ways.Ways
	pinned  map[stack.FlowID]bool
	sniffed map[ends]string // names in the first bytes of flows that live

	retired  []func()             // what a reload has put out of use; run's goroutine only
	leftOver []*proxyurl.Outbound // likewise, until the end
}

// newProgram judges what config cannot, and starts nothing but the checks of failovers.
func newProgram(in *config.Invocation, args []string, stderr io.Writer) (*program, error) {
	p := &program{in: in, args: args, stderr: stderr, started: time.Now(), current: in.Config, pinned: make(map[stack.FlowID]bool), sniffed: make(map[ends]string)}
	out := stderr
	if in.Status && in.Queue == 0 {
		p.screen = new(status.Log)
		out = p.screen
	}
	p.log = logs.New(out, in.LogLevel)
	var err error
	p.ways, err = ways.New(in.Config, nil, p.log.Logger, in.Check)
	if err != nil {
		p.log.Close()
	}
	return p, err
}

// close gives back what newProgram has made.
func (p *program) close() {
	p.ways.Close()
	for _, o := range p.leftOver {
		_ = o.Close() // its flows have ended
	}
	p.log.Close()
}

// serve forwards until ctx ends and open flows have finished or run out of time,
// or until the interface fails.
func (p *program) serve(ctx context.Context, stdin io.Reader, stdout io.Writer) (err error) {
	c := p.in.Config
	var ends []func() error // in the order of beginning
	defer func() {
		for i := len(ends) - 1; i >= 0; i-- {
			err = errors.Join(err, ends[i]())
		}
	}()
	onEnd := func(f func() error) { ends = append(ends, f) }

	if p.in.Queue > 0 {
		p.log.Logger = p.log.With("pid", pid())
		ctx = untilEOF(ctx)
	}
	if err := p.open(ctx); err != nil {
		return err
	}
	onEnd(p.device.Close)
	var listener net.Listener
	if c.Control != "" {
		if listener, err = control.Listen(c.Control.Reveal()); err != nil {
			return fmt.Errorf("control %v: %w", c.Control, err)
		}
		onEnd(func() error { _ = listener.Close(); return nil }) // Serve has closed it
	}
	if c.FlowLog != "" {
		if p.flows, err = logs.OpenFile(c.FlowLog); err != nil {
			return fmt.Errorf("flow-log: %w", err)
		}
		onEnd(p.flows.Close)
	}
	conn, stopCapture, err := p.capture()
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	onEnd(stopCapture)
	if err := p.lead(ctx); err != nil { // routes come last: everything works that they lead to
		return err
	}
	onEnd(p.unlead)
	if p.dns, p.pool, err = p.newResolver(); err != nil {
		return err
	}
	if p.dns != nil {
		onEnd(p.dns.Close)
	}
	if p.router, err = router.New(p.ways.WithDNS(p.dns)); err != nil {
		return ways.RouterError(err)
	}
	memory := newTrimmer(int64(c.Memory))
	onEnd(func() error { memory.stop(); return nil })
	if p.stack, err = stack.New(conn, p.stackConfig(memory)); err != nil {
		return err
	}
	p.stack.TCP() // from here on flows wait for Serve
	p.stack.UDP()
	p.stack.ICMP()
	p.server = p.newServer()
	if err := p.drop(); err != nil {
		return err
	}
	return p.run(ctx, listener, stdin, stdout)
}

// run is the program from when all is set up.
func (p *program) run(ctx context.Context, listener net.Listener, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx) // the screen's user can end it, too
	defer stop()
	// Both end with the stack, and no sooner: ctx begins the drain. What serves the operator
	// ends after them.
	forever, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var flows, beside errgroup.Group
	flows.Go(func() error { return p.stack.Run(context.WithoutCancel(ctx)) })
	flows.Go(func() error { return p.server.Serve(context.WithoutCancel(ctx), p.stack) })
	viewer := p.viewer()
	if listener != nil {
		beside.Go(func() error { return viewer.Serve(forever, listener) })
	}
	if p.watch != nil {
		beside.Go(func() error { return p.follow(forever) })
	}
	if p.pool != nil && p.current.DNS.FakeIPFile != "" {
		beside.Go(func() error { p.saveNames(forever); return nil })
	}
	beside.Go(func() error { systemd.Watchdog(forever, p.log.Logger, p.well); return nil })
	if p.in.Status {
		beside.Go(func() error { defer stop(); return p.show(forever, viewer, stdin, stdout) })
	}
	p.log.Info("serving", "device", p.device.Name(), "mtu", p.stack.MTU(), "proxy", p.current.Proxy, "version", version())
	systemd.Notify(p.log.Logger, systemd.Ready)
	p.wait(ctx)
	err := flows.Wait()
	cancel()
	err = errors.Join(err, beside.Wait())
	p.summary()
	for _, f := range p.retired {
		f()
	}
	return err
}

// wait returns when the stack has ended; when ctx has, it ends it.
func (p *program) wait(ctx context.Context) {
	reload, ignore := reloads()
	defer ignore()
	for {
		select {
		case <-p.stack.Done():
			return
		case <-ctx.Done():
			systemd.Notify(p.log.Logger, systemd.Stopping)
			p.drain()
			return
		case <-reload:
			p.reload()
		}
	}
}

// well returns if no lock is held for ever: it takes those that everything needs.
func (p *program) well() {
	p.stack.Stats()
	p.server.Stats()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"l3extract/adapters/autoroute"
	"l3extract/adapters/forward"
	"l3extract/adapters/netwatch"
	"l3extract/adapters/privdrop"
	"l3extract/examples/tun2socks/internal/config"
	"l3extract/examples/tun2socks/internal/hooks"
	"l3extract/examples/tun2socks/internal/ways"
	"l3extract/l3conn"
	"l3extract/l3conn/pcap"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

func pid() int { return os.Getpid() }

// prepareTime bounds the looking-up of proxies' names before it begins.
const prepareTime = 5 * time.Second

// open runs the hooks and opens the interface, or takes over the queue that a worker has
// been given.
func (p *program) open(ctx context.Context) (err error) {
	c := p.in.Config
	scheme, name, ok := strings.Cut(c.Device, "://")
	if !ok {
		scheme, name = "tun", c.Device
	}
	if p.in.Queue > 0 {
		p.device, err = tun.FromFD(p.in.Queue, c.MTU)
		return err
	}
	env := map[string]string{"TUN_DEVICE": name, "TUN_MTU": strconv.Itoa(c.MTU)}
	if err := hooks.Run(ctx, "tun-pre-up", c.PreUp, env); err != nil {
		return err
	}
	if scheme == "fd" {
		fd, _ := strconv.Atoi(name) // config has looked at it
		p.device, err = tun.FromFD(fd, c.MTU)
	} else {
		p.device, err = tun.Open(&tun.Config{Name: name, MTU: c.MTU})
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", c.Device, err)
	}
	env["TUN_MTU"] = strconv.Itoa(p.device.MTU())
	if err := hooks.Run(ctx, "tun-post-up", c.PostUp, env); err != nil {
		return errors.Join(err, p.device.Close())
	}
	return nil
}

// capture returns the conn of the stack, and what ends a capture of it.
func (p *program) capture() (l3conn.Conn, func() error, error) {
	name := p.in.Capture
	if name == "" {
		return p.device, func() error { return nil }, nil
	}
	tee, err := pcap.Create(p.device, name, &pcap.Config{OnError: func(err error) {
		p.log.Error("the capture ended", "file", name, "err", err)
	}})
	if err != nil {
		return nil, nil, err
	}
	return tee, func() error { return tee.Stop() }, nil
}

// lead looks up what is needed by name, and leads the host's traffic into the interface.
func (p *program) lead(ctx context.Context) (err error) {
	c := p.in.Config
	late, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	if err := p.ways.Prepare(late); err != nil { // a later look may do better
		p.log.Warn("not all names of proxies and DNS servers can be resolved yet", "err", err)
	}
	if c.Interface == "auto" {
		p.watch, err = netwatch.New(&netwatch.Config{Skip: []string{p.device.Name()}, Changed: p.moved})
		if err != nil {
			return fmt.Errorf("interface auto: %w", err)
		}
		p.ways.Watch.Store(p.watch)
	}
	if !c.Routes.Auto || p.in.Queue > 0 {
		return nil
	}
	p.routes, err = autoroute.Setup(routesOf(c, p.device.Name()))
	if err != nil {
		return errors.Join(err, p.unwatch())
	}
	return nil
}

// unlead undoes lead.
func (p *program) unlead() error {
	err := p.unwatch()
	if p.routes != nil {
		err = errors.Join(p.routes.Close(), err)
	}
	return err
}

func (p *program) unwatch() error {
	if p.watch == nil {
		return nil
	}
	return p.watch.Close()
}

// follow runs the watch over the default routes.
func (p *program) follow(ctx context.Context) error {
	err := p.watch.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// moved ends the flows whose way out of the host is lost.
func (p *program) moved(_, now netwatch.Defaults) {
	n := p.server.EndVia(p.watch.Lost)
	p.mu.Lock()
	w := p.ways
	p.mu.Unlock()
	w.EndVia(p.watch.Lost)
	p.log.Warn("the default route has changed", "ipv4", now.V4.Name, "ipv6", now.V6.Name, "flows ended", n)
}

// routesOf is what autoroute is asked for.
func routesOf(c *config.Config, device string) *autoroute.Config {
	r := &c.Routes
	a := &autoroute.Config{
		Device: device, Addrs: ways.Prefixes(r.Addresses), Mark: uint32(c.Mark), Table: r.Table, Priority: r.Priority,
		Include: ways.Prefixes(r.Include), Exclude: ways.Prefixes(r.Exclude), NoLAN: r.NoLAN, Inbound: r.Inbound, Strict: r.Strict,
		StateDir: r.StateDir,
	}
	for _, d := range r.DNS {
		a.DNS = append(a.DNS, d.Addr)
	}
	for _, s := range r.IncludeUIDs {
		first, last, _ := config.UIDs(s) // config has looked at it
		a.IncludeUIDs = append(a.IncludeUIDs, autoroute.UIDRange{First: first, Last: last})
	}
	for _, s := range r.ExcludeUIDs {
		first, last, _ := config.UIDs(s)
		a.ExcludeUIDs = append(a.ExcludeUIDs, autoroute.UIDRange{First: first, Last: last})
	}
	return a
}

// cleanup undoes what a program that was killed has left.
func cleanup(c *config.Config) error {
	return autoroute.Cleanup(&autoroute.Config{StateDir: c.Routes.StateDir})
}

// drop becomes -user. Marks, and routes that are to be undone, need CAP_NET_ADMIN.
func (p *program) drop() error {
	c := p.in.Config
	if c.User == "" {
		return nil
	}
	var keep []privdrop.Capability
	if p.ways.Direct.Mark != 0 || p.routes != nil {
		keep = append(keep, privdrop.NetAdmin)
	}
	if err := privdrop.Drop(&privdrop.Config{User: c.User, Keep: keep}); err != nil {
		return fmt.Errorf("user %s: %w", c.User, err)
	}
	return nil
}

// stackConfig is what the stack is asked for.
func (p *program) stackConfig(memory *trimmer) *stack.Config {
	c := p.in.Config
	s := &stack.Config{Logger: p.log.Logger}
	limitMemory(s, int64(c.Memory))
	s.TCP.LazyHandshake = true // what cannot be dialled is refused as if there were no TUN
	limitFlows(s, &c.Limits)
	s.UDP.IdleTimeout = time.Duration(c.UDPTimeout)
	s.TCP.MaxReceiveBuffer, s.TCP.MaxSendBuffer = int(c.TCPReceive), int(c.TCPSend)
	if c.TCPAutoTuning != nil && !*c.TCPAutoTuning && c.TCPReceive == 0 {
		s.TCP.MaxReceiveBuffer = -1
	}
	s.Trace.Open = func(f stack.Flow) {
		memory.opened(f)
		p.pin(f)
	}
	s.Trace.Close = func(f stack.Flow) {
		memory.closed(f)
		p.causes.Closed(f)
		p.logFlow(f)
		p.forget(f)
	}
	return s
}

// newServer makes what serves flows.
func (p *program) newServer() *forward.Server {
	c := p.in.Config
	server := &forward.Server{
		Dialer: p.ways.Direct, Logger: p.log.Logger,
		Route: p.route, RouteNeverWaits: true, Sniff: p.router.Sniff,
		DialTimeout: time.Duration(c.DialTimeout), IdleTimeout: time.Duration(c.IdleTimeout),
	}
	server.SetLimits(dialLimits(&c.Limits))
	return server
}

package main

import (
	"fmt"
	"time"

	"l3extract/adapters/dns"
	"l3extract/adapters/forward"
	"l3extract/examples/tun2socks/internal/config"
	"l3extract/examples/tun2socks/internal/systemd"
	"l3extract/examples/tun2socks/internal/ways"
	"l3extract/stack"
)

// config returns the configuration that is in force.
func (p *program) config() *config.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// reload puts what the file says now in force: outbounds, rules, DNS servers, limits and the
// log's level. If anything is wrong with it, all stays as it is, and one line says so.
func (p *program) reload() {
	systemd.Notify(p.log.Logger, systemd.Reloading())
	defer systemd.Notify(p.log.Logger, systemd.Ready)
	if err := p.tryReload(); err != nil {
		p.log.Error("the configuration is not reloaded, the old one stays", "err", err)
		return
	}
	p.log.Info("the configuration is reloaded")
}

func (p *program) tryReload() error {
	in, err := config.Parse(p.args)
	if err != nil {
		return err
	}
	old := p.ways
	next, err := ways.New(in.Config, old, p.log.Logger, false)
	if err != nil {
		return in.Locate(err)
	}
	if (next.Upstream == nil) != (p.dns == nil) {
		_ = next.CloseBut(old) // none is next's alone and has a flow
		return fmt.Errorf("dns.servers: whether DNS is served can be changed by a restart only")
	}
	if err := p.limit(&in.Limits); err != nil {
		_ = next.CloseBut(old)
		return err
	}
	if err := p.router.Reload(next.WithDNS(p.dns)); err != nil {
		_ = next.CloseBut(old)
		return ways.RouterError(err)
	}
	if p.dns != nil {
		if err := p.dns.Reload(next.Upstream, next.DNSRules); err != nil {
			_ = p.router.Reload(old.WithDNS(p.dns)) // which it took before
			_ = next.CloseBut(old)
			return err
		}
	}
	for _, field := range fixed(p.config(), in.Config) {
		p.log.Warn("this is changed by a restart only", "field", field)
	}
	p.log.SetLevel(in.LogLevel)
	p.mu.Lock()
	p.current, p.ways = in.Config, next
	p.mu.Unlock()
	p.retire(old, next)
	return nil
}

// retire closes what was put out of use, when nobody waits for an answer of it any more.
func (p *program) retire(old, next *ways.Ways) {
	done := make(chan struct{})
	end := func() {
		defer close(done)
		left := old.CloseBut(next)
		p.mu.Lock()
		p.leftOver = append(p.leftOver, left...)
		p.mu.Unlock()
	}
	timer := time.AfterFunc(dns.DefaultQueryTimeout, end)
	p.retired = append(p.retired, func() { // at the end of the program, at once
		if timer.Stop() {
			end()
		}
		<-done
	})
}

// fixed names what differs and cannot be changed while the program runs.
func fixed(a, b *config.Config) (fields []string) {
	for _, f := range []struct {
		name string
		same bool
	}{
		{"device", a.Device == b.Device}, {"mtu", a.MTU == b.MTU}, {"interface", a.Interface == b.Interface},
		{"fwmark", a.Mark == b.Mark}, {"user", a.User == b.User}, {"memory", a.Memory == b.Memory},
		{"control", a.Control == b.Control}, {"workers", a.Workers == b.Workers}, {"pprof", a.Pprof == b.Pprof},
		{"dns.fake-ip", a.DNS.FakeIP == b.DNS.FakeIP && a.DNS.FakeIP4 == b.DNS.FakeIP4 && a.DNS.FakeIP6 == b.DNS.FakeIP6},
		{"routes", string((&config.Config{Routes: a.Routes}).YAML()) == string((&config.Config{Routes: b.Routes}).YAML())},
		{"dial-timeout", a.DialTimeout == b.DialTimeout}, {"idle-timeout", a.IdleTimeout == b.IdleTimeout},
		{"udp-timeout", a.UDPTimeout == b.UDPTimeout}, {"tcp-rcvbuf", a.TCPReceive == b.TCPReceive}, {"tcp-sndbuf", a.TCPSend == b.TCPSend},
		{"flow-log", a.FlowLog == b.FlowLog}, {"capture", a.Capture == b.Capture},
	} {
		if !f.same {
			fields = append(fields, f.name)
		}
	}
	return fields
}

// limit changes the limits of flows.
func (p *program) limit(l *config.Limits) error {
	var s stack.Config
	limitFlows(&s, l)
	if err := p.stack.SetLimits(&s.TCP, &s.UDP); err != nil {
		return err
	}
	p.server.SetLimits(dialLimits(l))
	return nil
}

// limitFlows writes limits into s.
func limitFlows(s *stack.Config, l *config.Limits) {
	s.TCP.MaxStreams, s.TCP.MaxStreamsPerSource = l.TCP, l.TCPPerSource
	s.TCP.MaxHandshakes, s.TCP.MaxHandshakesPerSource = l.Handshakes, l.HandshakesPerSource
	s.TCP.MaxHandshakesPerDestination = l.HandshakesPerDestination
	s.UDP.MaxSockets, s.UDP.MaxSocketsPerSource = l.UDP, l.UDPPerSource
}

func dialLimits(l *config.Limits) forward.Limits {
	return forward.Limits{MaxDials: l.Dials, MaxDialsPerSource: l.DialsPerSource, MaxDialsPerDestination: l.DialsPerDestination}
}

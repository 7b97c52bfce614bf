package main

import (
	"context"
	"net/netip"
	"time"

	"l3extract/adapters/dns"
	"l3extract/adapters/fakeip"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// ends are those of a TCP flow.
type ends struct{ src, dst netip.AddrPort }

// maxSniffed bounds the names that are remembered; the flows beyond it have none.
const maxSniffed = 1 << 16

// route is the router's, which also remembers for the logs what names were found in a flow's
// first bytes.
func (p *program) route(ctx context.Context, f outbound.Flow) (forward.Target, error) {
	if f.Name != "" {
		p.mu.Lock()
		if len(p.sniffed) < maxSniffed {
			p.sniffed[ends{f.Source, f.Destination}] = f.Name
		}
		p.mu.Unlock()
	}
	return p.router.Route(ctx, f)
}

// nameOf returns the name by which a client has asked for where its flow goes.
func (p *program) nameOf(src, dst netip.AddrPort) string {
	if !dst.IsValid() {
		return ""
	}
	if p.dns != nil {
		if name, _, ok := p.dns.NameOf(src.Addr(), dst.Addr()); ok {
			return name
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sniffed[ends{src, dst}]
}

// pin keeps the name of a fake address as long as there is a flow to it.
func (p *program) pin(f stack.Flow) {
	if p.pool == nil || !f.Destination.IsValid() || !p.pool.Pin(f.Destination.Addr()) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pinned[f.ID] = true
}

// forget is the end of what is remembered of a flow.
func (p *program) forget(f stack.Flow) {
	p.mu.Lock()
	pinned := p.pinned[f.ID]
	delete(p.pinned, f.ID)
	if f.Network == "tcp" {
		delete(p.sniffed, ends{f.Source, f.Destination})
	}
	p.mu.Unlock()
	if pinned {
		p.pool.Unpin(f.Destination.Addr())
	}
}

// saveNames keeps the names of fake addresses on disk until ctx ends.
func (p *program) saveNames(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if err := p.pool.Save(p.current.DNS.FakeIPFile); err != nil {
			p.log.Warn("the names of fake addresses are not saved", "err", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// newResolver makes the DNS server and the pool of fake addresses that a configuration asks
// for; both are nil if it does not.
func (p *program) newResolver() (*dns.Server, *fakeip.Pool, error) {
	c := p.in.Config
	if p.ways.Upstream == nil {
		return nil, nil, nil
	}
	var pool *fakeip.Pool
	if c.DNS.FakeIP {
		var err error
		if pool, err = fakeip.New(&fakeip.Config{V4: c.DNS.FakeIP4.Prefix, V6: c.DNS.FakeIP6.Prefix}); err != nil {
			return nil, nil, err
		}
		if c.DNS.FakeIPFile != "" {
			if err := pool.Load(c.DNS.FakeIPFile); err != nil {
				p.log.Warn("the names of fake addresses begin anew", "err", err)
			}
		}
	}
	server, err := dns.New(&dns.Config{
		Upstream: p.ways.Upstream, Rules: p.ways.DNSRules, Fake: pool, CacheEntries: c.DNS.Cache, Logger: p.log.Logger,
	})
	return server, pool, err
}

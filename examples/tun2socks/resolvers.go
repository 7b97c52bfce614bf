package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"l3extract/adapters/dns"
	"l3extract/adapters/fakeip"
	"l3extract/adapters/outbound"
	"l3extract/examples/tun2socks/internal/config"
)

// resolvers makes the upstreams of the DNS server.
func (w *ways) resolvers(c *config.Config) (err error) {
	if len(c.DNS.Servers) == 0 {
		return nil
	}
	if w.upstream, err = w.servers(c, "dns.servers", c.DNS.Servers, c.DNS.Via); err != nil {
		return err
	}
	for i, r := range c.DNS.Rules {
		rule := dns.Rule{Fake: r.FakeIP != nil && *r.FakeIP}
		for _, d := range r.Domain {
			rule.Domains = append(rule.Domains, strings.TrimPrefix(strings.TrimPrefix(d, "*"), "."))
		}
		if len(r.Servers) > 0 {
			via := r.Via
			if via == "" {
				via = c.DNS.Via
			}
			if rule.Upstream, err = w.servers(c, fmt.Sprintf("dns.rules[%d].servers", i), r.Servers, via); err != nil {
				return err
			}
		}
		w.dnsRules = append(w.dnsRules, rule)
	}
	trial, err := dns.New(&dns.Config{Upstream: w.upstream, Rules: w.dnsRules}) // it starts nothing
	if err != nil {
		return &config.Error{Field: "dns", Why: err.Error()}
	}
	return trial.Close()
}

// servers makes one upstream of several URLs. They are asked by the outbound via, by default
// the one of all flows that no rule speaks of, so that no question leaves by another way; the
// host's own are asked directly.
func (w *ways) servers(c *config.Config, field string, urls []config.URL, via string) (dns.Upstream, error) {
	if via == "" {
		via = w.router.Default
	}
	way := w.named[via]
	options := &dns.Options{
		Dialer: way.Dialer, PacketListener: way.PacketListener, Lookup: w.lookupIP,
		ByName: way.Dialer != outbound.Dialer(w.direct), // a proxy resolves the server's name
	}
	host := hostServers(c)
	var all []dns.Upstream
	for i, u := range urls {
		if u.Scheme() == "system" {
			var servers func() []netip.AddrPort
			if host != nil {
				servers = func() []netip.AddrPort { return host }
			}
			all = append(all, dns.System(servers, &dns.Options{Dialer: w.direct, PacketListener: w.direct}))
			continue
		}
		up, err := dns.ParseUpstream(u.Reveal(), options)
		if err != nil {
			return nil, &config.Error{Field: fmt.Sprintf("%s[%d]", field, i), Value: u.String(), Why: err.Error()}
		}
		all = append(all, up)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return dns.Failover(all...), nil
}

func (w *ways) lookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return w.lookup(ctx, "ip", host)
}

// newResolver makes the DNS server and the pool of fake addresses that a configuration asks
// for; both are nil if it does not.
func (p *program) newResolver() (*dns.Server, *fakeip.Pool, error) {
	c := p.in.Config
	if p.ways.upstream == nil {
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
		Upstream: p.ways.upstream, Rules: p.ways.dnsRules, Fake: pool, CacheEntries: c.DNS.Cache, Logger: p.log.Logger,
	})
	return server, pool, err
}

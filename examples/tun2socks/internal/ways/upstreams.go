package ways

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"l3extract/adapters/dns"
	"l3extract/adapters/outbound"
	"l3extract/examples/tun2socks/internal/config"
)

// resolvers makes the upstreams of the DNS server.
func (w *Ways) resolvers(c *config.Config) (err error) {
	if len(c.DNS.Servers) == 0 {
		return nil
	}
	if w.Upstream, err = w.servers(c, "dns.servers", c.DNS.Servers, c.DNS.Via); err != nil {
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
		w.DNSRules = append(w.DNSRules, rule)
	}
	trial, err := dns.New(&dns.Config{Upstream: w.Upstream, Rules: w.DNSRules}) // it starts nothing
	if err != nil {
		return &config.Error{Field: "dns", Why: err.Error()}
	}
	return trial.Close()
}

// servers makes one upstream of several URLs. They are asked by the outbound via, by default
// the one of all flows that no rule speaks of, so that no question leaves by another way; the
// host's own are asked directly.
func (w *Ways) servers(c *config.Config, field string, urls []config.URL, via string) (dns.Upstream, error) {
	if via == "" {
		via = w.router.Default
	}
	way := w.named[via]
	options := &dns.Options{
		Dialer: way.Dialer, PacketListener: way.PacketListener, Lookup: w.lookupIP,
		ByName: way.Dialer != outbound.Dialer(w.Direct), // a proxy resolves the server's name
	}
	host := hostServers(c)
	var all []dns.Upstream
	for i, u := range urls {
		if u.Scheme() == "system" {
			var servers func() []netip.AddrPort
			if host != nil {
				servers = func() []netip.AddrPort { return host }
			}
			all = append(all, dns.System(servers, &dns.Options{Dialer: w.Direct, PacketListener: w.Direct}))
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

func (w *Ways) lookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return w.lookup(ctx, "ip", host)
}

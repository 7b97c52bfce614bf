package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
)

// Upstream is a resolver that answers for others. Its methods may be called at once.
type Upstream interface {
	// Exchange asks query, a whole DNS message, and returns the response to it: one
	// with its id and its question, or an error, *net.OpError if it is one of I/O. It
	// keeps neither query nor the response, and ends when ctx does.
	Exchange(ctx context.Context, query []byte) ([]byte, error)

	// Close ends what Exchange has open, and returns when no goroutine is left.
	Close() error
}

// Options say how upstreams are reached. The zero value is direct.
type Options struct {
	// Dialer opens connections. Default: a direct.Dialer.
	Dialer outbound.Dialer

	// PacketListener opens sockets for udp:// upstreams. Default: the Dialer if it is
	// one. If there is none an upstream over UDP is asked over TCP.
	PacketListener outbound.PacketListener

	// Lookup finds the addresses of an upstream that has a name, once: at Prepare, or
	// else when it is first asked; a Lookup that failed is tried again. Default:
	// net.DefaultResolver, which must not lead to the Server itself.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// ByName gives the Dialer the name of an upstream in place of an address: for a
	// proxy that resolves it. Lookup is not called then.
	ByName bool

	// Timeout bounds the time that one server has to answer, connecting included,
	// before another is asked. Default: 4 s. Negative: no bound but the context's.
	Timeout time.Duration

	// TLS is the configuration of tls:// and https:// upstreams, which is cloned.
	// Default: nil, certificates of the host's authorities for the upstream's name.
	TLS *tls.Config
}

// DefaultUpstreamTimeout is the default of Options.Timeout.
const DefaultUpstreamTimeout = 4 * time.Second

func (o *Options) withDefaults() *Options {
	c := Options{}
	if o != nil {
		c = *o
	}
	if c.Dialer == nil {
		c.Dialer = new(direct.Dialer)
	}
	if l, ok := c.Dialer.(outbound.PacketListener); ok && c.PacketListener == nil {
		c.PacketListener = l
	}
	if c.Lookup == nil {
		c.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	set(&c.Timeout, DefaultUpstreamTimeout)
	return &c
}

// within bounds ctx by the time that one server has.
func (o *Options) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.Timeout)
}

// ParseUpstream returns the upstream that raw names. An options of nil is the default.
//
//	system                         the host's resolvers, see System
//	9.9.9.9, udp://9.9.9.9:53      over UDP, and over TCP what is too long for it
//	tcp://9.9.9.9:53               over TCP (RFC 7766)
//	tls://dns.quad9.net:853        over TLS (RFC 7858)
//	https://dns.quad9.net/dns-query  over HTTPS (RFC 8484)
//
// Ports may be left out; IPv6 addresses stand in brackets where something follows.
// Several with commas between are a Failover.
func ParseUpstream(raw string, options *Options) (Upstream, error) {
	if strings.Contains(raw, ",") {
		var all []Upstream
		for one := range strings.SplitSeq(raw, ",") {
			u, err := ParseUpstream(strings.TrimSpace(one), options)
			if err != nil {
				return nil, errors.Join(err, closeAll(all))
			}
			all = append(all, u)
		}
		return Failover(all...), nil
	}
	o := options.withDefaults()
	if raw == "system" {
		return System(nil, options), nil
	}
	bad := func(why string) (Upstream, error) { return nil, fmt.Errorf("dns: upstream %q: %s", hidden(raw), why) }
	if !strings.Contains(raw, "://") {
		if a, err := netip.ParseAddr(raw); err == nil {
			raw = netip.AddrPortFrom(a, 53).String()
		}
		if _, err := netip.ParseAddrPort(raw); err != nil {
			return bad("neither an address nor a URL")
		}
		raw = "udp://" + raw
	}
	u, err := url.Parse(strings.ReplaceAll(raw, "%", "%25")) // the zone of an address, and nothing else
	switch {
	case err != nil || u.Hostname() == "" || strings.Contains(u.Hostname(), ":") && !isAddr(u.Hostname()):
		return bad("want an address or name, with a port or without")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return bad("what does user, query or fragment mean there?")
	case u.Scheme != "https" && u.Path != "" && u.Path != "/":
		return bad("only https:// has a path")
	}
	port := map[string]string{"udp": "53", "tcp": "53", "tls": "853", "https": "443"}[u.Scheme]
	if port == "" {
		return bad("want system, udp://, tcp://, tls:// or https://")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	t, err := newTarget(u.Hostname(), port, o)
	if err != nil {
		return bad(err.Error())
	}
	switch u.Scheme {
	case "udp":
		return newPackets(t), nil
	case "tcp":
		return newStreams(t, nil), nil
	case "tls":
		return newStreams(t, t.tlsConfig(o.TLS)), nil
	}
	return newHTTPS(t, o, u.Path), nil
}

// hidden is raw without what may be a password.
func hidden(raw string) string {
	at := strings.LastIndex(raw, "@")
	if at < 0 {
		return raw
	}
	scheme, _, ok := strings.Cut(raw[:at], "://")
	if !ok {
		return "***" + raw[at:]
	}
	return scheme + "://***" + raw[at:]
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func closeAll(all []Upstream) error {
	var errs []error
	for _, u := range all {
		errs = append(errs, u.Close())
	}
	return errors.Join(errs...)
}

// Prepare has u look up the address of its server, if it has a name and does not know
// it: while names can still be asked elsewhere. Upstreams of other packages have none.
func Prepare(ctx context.Context, u Upstream) error {
	if p, ok := u.(interface{ prepare(context.Context) error }); ok {
		return p.prepare(ctx)
	}
	return nil
}

// UpstreamStats is the account of one upstream.
type UpstreamStats struct {
	Name      string // as ParseUpstream takes it
	Exchanges uint64 // questions it was asked
	Failed    uint64 // those that it did not answer
	Opened    uint64 // connections and sockets opened
	Reused    uint64 // exchanges over one that was open
	Ignored   uint64 // responses that were none to what it was asked
}

// accountant is an Upstream of this package.
type accountant interface{ account() []UpstreamStats }

// upstreamCounters are UpstreamStats as they are counted.
type upstreamCounters struct{ exchanges, failed, opened, reused, ignored atomic.Uint64 }

func (c *upstreamCounters) stats(name string) []UpstreamStats {
	return []UpstreamStats{{
		Name: name, Exchanges: c.exchanges.Load(), Failed: c.failed.Load(),
		Opened: c.opened.Load(), Reused: c.reused.Load(), Ignored: c.ignored.Load(),
	}}
}

// ended counts the end of an exchange.
func (c *upstreamCounters) ended(err error) {
	c.exchanges.Add(1)
	if err != nil {
		c.failed.Add(1)
	}
}

package dns

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"l3extract/adapters/fakeip"
)

// Config is the configuration of a Server.
type Config struct {
	// Upstream is asked what the Server cannot answer itself. Default: nil, nobody:
	// with a Fake pool everything but addresses has no data, and without one every
	// query is refused. The Server does not close it.
	Upstream Upstream

	// Rules give some domains another upstream, and real answers where Fake is set.
	// The one with the longest domain that a name lies below holds for it.
	Rules []Rule

	// Fake, if set, gives the addresses with which queries for A and AAAA are
	// answered, but for names that Rules exempt. Default: nil, real answers only.
	Fake *fakeip.Pool

	// FakeTTL is the TTL of these answers, which has to be below the pool's Hold. Default:
	// 10 s.
	FakeTTL time.Duration

	// NoIPv4 and NoIPv6 answer A or AAAA with no data, and take the address hints of
	// that family out of HTTPS and SVCB records: for a way out that has one family.
	NoIPv4, NoIPv6 bool

	// Truncate has every query over UDP that needs an upstream answered "truncated",
	// so that its client asks again over TCP.
	Truncate bool

	// MaxUDPSize is the largest answer over UDP; a client may ask for less, and gets
	// 512 bytes if it says nothing. A larger answer is truncated. Default: 1232.
	MaxUDPSize int

	// QueryTimeout is how long a query waits for its upstream, after which it is
	// answered SERVFAIL. Default: 10 s. Negative: as long as the upstream likes.
	QueryTimeout time.Duration

	// MaxQueries bounds the queries that wait for an upstream, MaxQueriesPerSource
	// those of one client address (IPv6: of one /64). More are dropped over UDP, and
	// answered SERVFAIL over TCP. An eighth is kept for sources with fewer than 16.
	// Default: 4096, 1024. Negative: no limit.
	MaxQueries, MaxQueriesPerSource int

	// MaxConns bounds the connections that DialContext has open, MaxConnsPerSource
	// those of one client. More are refused. Default: 1024, 128. Negative: no limit.
	MaxConns, MaxConnsPerSource int

	// ConnIdleTimeout ends a connection on which no query came and none was answered
	// for so long (RFC 7766). Default: 30 s. Negative: never.
	ConnIdleTimeout time.Duration

	// CacheEntries and CacheBytes bound the cache. Default: 16384, 8 MiB. If one is
	// negative there is no cache.
	CacheEntries, CacheBytes int

	// MaxTTL bounds how long an answer is kept and the TTLs in it, MaxNegativeTTL
	// that of an answer without data (RFC 2308). Default: 24 h, 1 h.
	MaxTTL, MaxNegativeTTL time.Duration

	// Stale is how long after its end an answer may still be given when the upstream
	// fails (RFC 8767), with a TTL of 30 s. Default: 0, never.
	Stale time.Duration

	// MaxNames bounds the addresses whose names NameOf knows, MaxNamesPerSource those
	// of one client; the ones told least recently are forgotten. Default: 65536, 4096.
	// Negative: none are remembered.
	MaxNames, MaxNamesPerSource int

	// NameGrace is how long after its TTL NameOf still knows a name, because clients
	// do not look at TTLs closely. Default: 10 min.
	NameGrace time.Duration

	// OnAnswer, if set, is told of each query that is being answered, but for malformed and
	// refused ones. It runs with no lock held, on a goroutine that others need too, and
	// must return soon. What it is told is browsing history.
	OnAnswer func(Answer)

	// Logger gets, at level debug, why an upstream gave no answer. Default: nil, silence.
	Logger *slog.Logger
}

// Answer is the account of a query that is answered.
type Answer struct {
	Network string       // "udp" or "tcp"
	Source  netip.Addr   // the client
	Name    string       // in lower case, without the final dot
	Type    string       // "A", "AAAA", "TYPE65280"
	Rcode   string       // "NOERROR", "NXDOMAIN"
	Addrs   []netip.Addr // of the answer, fake ones too; not to be changed
}

// Rule is for the names of some domains.
type Rule struct {
	// Domains are names: the rule is for each of them and all below. "." is all.
	Domains []string

	// Upstream is asked for them. Default: nil, Config.Upstream.
	Upstream Upstream

	// Fake keeps answers with fake addresses, as without the rule. Default: false,
	// names of these domains get real answers.
	Fake bool
}

// The defaults of Config's fields.
const (
	DefaultFakeTTL             = 10 * time.Second
	DefaultMaxUDPSize          = 1232
	DefaultQueryTimeout        = 10 * time.Second
	DefaultMaxQueries          = 4096
	DefaultMaxQueriesPerSource = 1024
	DefaultMaxConns            = 1024
	DefaultMaxConnsPerSource   = 128
	DefaultConnIdleTimeout     = 30 * time.Second
	DefaultCacheEntries        = 16384
	DefaultCacheBytes          = 8 << 20
	DefaultMaxTTL              = 24 * time.Hour
	DefaultMaxNegativeTTL      = time.Hour
	DefaultMaxNames            = 65536
	DefaultMaxNamesPerSource   = 4096
	DefaultNameGrace           = 10 * time.Minute
)

// withDefaults returns the configuration in force, or an error that names the field.
func (c Config) withDefaults() (Config, error) {
	set(&c.FakeTTL, DefaultFakeTTL)
	set(&c.MaxUDPSize, DefaultMaxUDPSize)
	set(&c.QueryTimeout, DefaultQueryTimeout)
	set(&c.MaxQueries, DefaultMaxQueries)
	set(&c.MaxQueriesPerSource, DefaultMaxQueriesPerSource)
	set(&c.MaxConns, DefaultMaxConns)
	set(&c.MaxConnsPerSource, DefaultMaxConnsPerSource)
	set(&c.ConnIdleTimeout, DefaultConnIdleTimeout)
	set(&c.CacheEntries, DefaultCacheEntries)
	set(&c.CacheBytes, DefaultCacheBytes)
	set(&c.MaxTTL, DefaultMaxTTL)
	set(&c.MaxNegativeTTL, DefaultMaxNegativeTTL)
	set(&c.MaxNames, DefaultMaxNames)
	set(&c.MaxNamesPerSource, DefaultMaxNamesPerSource)
	set(&c.NameGrace, DefaultNameGrace)
	switch {
	case c.MaxUDPSize < dns.MinMsgSize || c.MaxUDPSize > dns.MaxMsgSize:
		return c, fmt.Errorf("dns: MaxUDPSize is %d, and %d to %d is possible", c.MaxUDPSize, dns.MinMsgSize, dns.MaxMsgSize)
	case c.FakeTTL < time.Second:
		return c, fmt.Errorf("dns: FakeTTL is %v, and at least 1s is needed", c.FakeTTL)
	case c.Fake != nil && c.Fake.Hold() >= 0 && c.FakeTTL >= c.Fake.Hold():
		return c, fmt.Errorf("dns: FakeTTL is %v, and less than the %v that Fake holds a name is needed", c.FakeTTL, c.Fake.Hold())
	case c.MaxTTL < time.Second:
		return c, fmt.Errorf("dns: MaxTTL is %v, and at least 1s is needed", c.MaxTTL)
	case c.MaxNegativeTTL < 0:
		return c, fmt.Errorf("dns: MaxNegativeTTL is %v", c.MaxNegativeTTL)
	case c.Stale < 0:
		return c, fmt.Errorf("dns: Stale is %v", c.Stale)
	case c.NameGrace < 0:
		return c, fmt.Errorf("dns: NameGrace is %v", c.NameGrace)
	}
	return c, nil
}

func set[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// rules find what holds for a name. They are read only.
type rules struct {
	byDomain map[string]route // canonical names, with the final dot
	rest     route
}

// route says how a name is answered.
type route struct {
	upstream Upstream
	fake     bool
	id       uint64 // for the cache: the same name may have another answer elsewhere, and after a reload
}

// newRules makes the rules of the generation gen.
func newRules(c *Config, gen uint64) (*rules, error) {
	gen <<= 32
	r := &rules{byDomain: make(map[string]route), rest: route{upstream: c.Upstream, fake: c.Fake != nil, id: gen}}
	for i, rule := range c.Rules {
		to := route{upstream: rule.Upstream, fake: rule.Fake && c.Fake != nil, id: gen + uint64(i) + 1}
		if to.upstream == nil {
			to.upstream = c.Upstream
		}
		if to.upstream == nil && !to.fake {
			return nil, fmt.Errorf("dns: Rules[%d] has no Upstream, and there is no other", i)
		}
		if len(rule.Domains) == 0 {
			return nil, fmt.Errorf("dns: Rules[%d] has no Domains", i)
		}
		for _, domain := range rule.Domains {
			name := dns.CanonicalName(strings.TrimPrefix(domain, "*."))
			if _, ok := dns.IsDomainName(name); !ok || domain == "" {
				return nil, fmt.Errorf("dns: Rules[%d]: %q is not a domain", i, domain)
			}
			if _, again := r.byDomain[name]; again {
				return nil, fmt.Errorf("dns: Rules[%d]: %q has a rule already", i, domain)
			}
			r.byDomain[name] = to
		}
	}
	return r, nil
}

// find returns what holds for a canonical name.
func (r *rules) find(name string) route {
	if len(r.byDomain) == 0 {
		return r.rest
	}
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if to, ok := r.byDomain[name[off:]]; ok {
			return to
		}
	}
	if to, ok := r.byDomain["."]; ok {
		return to
	}
	return r.rest
}

// upstreams lists each upstream of the rules once.
func (c *Config) upstreams() []Upstream {
	var all []Upstream
	seen := make(map[Upstream]bool)
	add := func(u Upstream) {
		if u != nil && !seen[u] {
			seen[u] = true
			all = append(all, u)
		}
	}
	add(c.Upstream)
	for _, rule := range c.Rules {
		add(rule.Upstream)
	}
	return all
}

// unmapped is a source as it is kept.
func unmapped(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

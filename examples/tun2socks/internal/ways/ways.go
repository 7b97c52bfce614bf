// Package ways owns the ways out of tun2socks: the outbounds that a configuration names, its
// rules for a router, and the upstreams of its DNS server.
package ways

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"l3extract/adapters/autoroute"
	"l3extract/adapters/direct"
	"l3extract/adapters/dns"
	"l3extract/adapters/netwatch"
	"l3extract/adapters/proxyurl"
	"l3extract/adapters/router"
	"l3extract/examples/tun2socks/internal/config"
)

// Ways are what the router and the DNS server of one configuration are to be told. They are
// made anew by each reload, of outbounds that stay as they are where their URL does.
type Ways struct {
	Direct *direct.Dialer // opens all sockets of the program
	byURL  map[string]*proxyurl.Outbound
	named  map[string]router.Outbound
	router router.Config

	Upstream dns.Upstream // nil: DNS is not served
	DNSRules []dns.Rule

	Failovers map[string]*router.Failover // by name
	log       *slog.Logger
	trial     bool // for -check: nothing shall be dialled

	Watch *atomic.Pointer[netwatch.Monitor] // of -interface auto, from when there is one
}

// The names of outbounds that need no definition.
const (
	Direct = "direct"
	Reject = "reject"
	Proxy  = "proxy" // of a URL in config.Config.Proxy
	DNS    = "dns"   // the DNS server, which has its own rule before all others
)

// New makes the ways of c. What an old one has already is taken from there. Nothing is
// dialled but by the checks of failovers, which begin, unless it is a trial.
func New(c *config.Config, old *Ways, log *slog.Logger, trial bool) (*Ways, error) {
	w := &Ways{
		byURL: make(map[string]*proxyurl.Outbound), named: make(map[string]router.Outbound),
		Failovers: make(map[string]*router.Failover), log: log, trial: trial,
	}
	if old != nil {
		w.Direct, w.Watch = old.Direct, old.Watch
	} else {
		w.Watch = new(atomic.Pointer[netwatch.Monitor])
		w.Direct = newDirect(c, w.Watch)
	}
	err := w.outbounds(c, old)
	if err == nil {
		err = w.rules(c)
	}
	if err == nil {
		err = w.resolvers(c)
	}
	if err != nil {
		_ = w.CloseBut(old) // none is ours alone and has a flow
		return nil, err
	}
	return w, nil
}

// newDirect makes what all sockets of the program are opened by.
func newDirect(c *config.Config, watch *atomic.Pointer[netwatch.Monitor]) *direct.Dialer {
	d := &direct.Dialer{Mark: uint32(c.Mark)}
	if c.Routes.Auto {
		d.Mark = cmp.Or(d.Mark, autoroute.DefaultMark)
	}
	if d.Interface = c.Interface; c.Interface == "auto" {
		d.Interface = ""
		d.InterfaceOf = func(network string) (string, error) {
			if m := watch.Load(); m != nil {
				return m.Interface(network)
			}
			return "", nil // as routes say, while they are still the host's own
		}
	}
	// Names of proxies and of what goes directly are asked over the same marked sockets, and
	// of the servers that the host had before we changed anything.
	before := hostServers(c)
	var turn atomic.Uint32
	d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if len(before) > 0 {
			address = before[int(turn.Add(1)-1)%len(before)].String()
		}
		plain := &direct.Dialer{Mark: d.Mark, Interface: d.Interface, InterfaceOf: d.InterfaceOf}
		return plain.DialContext(ctx, network, address)
	}}
	return d
}

// hostServers are the host's resolvers, if they are going to be replaced.
func hostServers(c *config.Config) []netip.AddrPort {
	if len(c.Routes.DNS) == 0 {
		return nil
	}
	return dns.ResolvConf("/etc/resolv.conf")
}

func (w *Ways) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return w.Direct.Resolver.LookupNetIP(ctx, network, host)
}

// outbounds makes those that c names.
func (w *Ways) outbounds(c *config.Config, old *Ways) error {
	add := func(field, name, raw string) error {
		o := w.byURL[raw]
		if o == nil && old != nil {
			o = old.byURL[raw]
		}
		if o == nil {
			var err error
			if o, err = proxyurl.Parse(raw, proxyurl.Base{Dialer: w.Direct, PacketListener: w.Direct, Lookup: w.lookup}); err != nil {
				return &config.Error{Field: field, Why: err.Error()}
			}
		}
		w.byURL[raw] = o
		w.named[name] = router.Outbound{Name: name, Dialer: o.Dialer, PacketListener: o.PacketListener}
		return nil
	}
	for _, builtIn := range []string{Direct, Reject} {
		if err := add("", builtIn, builtIn+"://"); err != nil {
			return err
		}
	}
	for i, o := range c.Outbounds {
		if o.URL == "" {
			continue
		}
		raw, err := withCredentials(&o)
		if err == nil {
			err = add(fmt.Sprintf("outbounds[%d].url", i), o.Name, raw)
		}
		if err != nil {
			return err
		}
	}
	if c.Proxy.Scheme() != "" {
		if err := add("proxy", Proxy, c.Proxy.Reveal()); err != nil {
			return err
		}
	}
	for i, o := range c.Outbounds {
		if o.URL != "" {
			continue
		}
		if w.trial {
			w.named[o.Name] = router.Outbound{Name: o.Name, Dialer: w.Direct}
			continue
		}
		f, err := router.NewFailover(w.failover(&o))
		if err != nil {
			return &config.Error{Field: fmt.Sprintf("outbounds[%d].failover", i), Why: err.Error()}
		}
		w.Failovers[o.Name] = f
		w.named[o.Name] = router.Outbound{Name: o.Name, Dialer: f}
	}
	return nil
}

func (w *Ways) failover(o *config.Outbound) *router.FailoverConfig {
	f := &router.FailoverConfig{
		Name: o.Name, Probe: o.CheckAddress, Interval: time.Duration(o.CheckInterval), Logger: w.log,
	}
	for _, name := range o.Failover {
		f.Outbounds = append(f.Outbounds, w.named[name])
	}
	return f
}

// withCredentials puts the user name and password of o into its URL.
func withCredentials(o *config.Outbound) (string, error) {
	raw := o.URL.Reveal()
	if o.Username == "" && o.Password == "" {
		return raw, nil
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || strings.ContainsAny(rest, "@ ") {
		return "", &config.Error{Field: "outbounds: " + o.Name, Why: "say the credentials in the url or beside it, and with one proxy in it"}
	}
	return scheme + "://" + url.UserPassword(o.Username, o.Password.Reveal()).String() + "@" + rest, nil
}

// rules makes the configuration of the router.
func (w *Ways) rules(c *config.Config) error {
	def := c.Proxy.Reveal()
	if c.Proxy.Scheme() != "" {
		def = Proxy
	}
	w.router = router.Config{Default: def}
	for _, name := range slices.Sorted(maps.Keys(w.named)) {
		w.router.Outbounds = append(w.router.Outbounds, w.named[name])
	}
	for _, p := range c.Sniff {
		w.router.SniffPorts = append(w.router.SniffPorts, router.PortRange(p))
	}
	for _, r := range c.Rules {
		rule := router.Rule{Outbound: r.Outbound, Domains: r.Domain}
		if r.Network != "" {
			rule.Networks = []string{r.Network}
		}
		rule.Sources, rule.Destinations = Prefixes(r.From), Prefixes(r.To)
		for _, p := range r.Ports {
			rule.Ports = append(rule.Ports, router.PortRange(p))
		}
		w.router.Rules = append(w.router.Rules, rule)
	}
	if _, err := router.New(&w.router); err != nil {
		return RouterError(err)
	}
	return nil
}

// RouterError calls the fields as the configuration does.
func RouterError(err error) error {
	var e *router.ConfigError
	if !errors.As(err, &e) {
		return err
	}
	field := strings.NewReplacer("Rules", "rules", "Domains", "domain", "Destinations", "to", "Sources", "from",
		"Networks", "network", "Ports", "ports", "Outbound", "outbound", "Sniffports", "sniff").Replace(e.Field)
	return &config.Error{Field: field, Value: e.Value, Why: e.Why}
}

// Prefixes returns the networks as others want them.
func Prefixes(list []config.Prefix) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, p.Prefix)
	}
	return all
}

// WithDNS returns the router's configuration with the DNS server before all rules.
func (w *Ways) WithDNS(server *dns.Server) *router.Config {
	c := w.router
	if server == nil {
		return &c
	}
	c.Names = server
	c.Outbounds = append(slices.Clip(c.Outbounds), router.Outbound{Name: DNS, Dialer: server, Handler: server, Trusted: true})
	first := router.Rule{Outbound: DNS, Networks: []string{"tcp", "udp"}, Ports: []router.PortRange{router.Port(53)}}
	c.Rules = append([]router.Rule{first}, c.Rules...)
	return &c
}

// Prepare looks up the names of proxies and DNS servers, while names can be asked.
func (w *Ways) Prepare(ctx context.Context) error {
	var errs []error
	for raw, o := range w.byURL {
		if err := o.Resolve(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", proxyurl.Redact(raw), err))
		}
	}
	for _, u := range w.upstreams() {
		errs = append(errs, dns.Prepare(ctx, u))
	}
	return errors.Join(errs...)
}

// EndVia ends what outbounds keep that has lost its way, as proxyurl.Outbound's does.
func (w *Ways) EndVia(lost func(local netip.Addr, index int) bool) {
	for _, o := range w.byURL {
		o.EndVia(lost)
	}
}

// Close gives back all.
func (w *Ways) Close() {
	for _, o := range w.CloseBut(nil) {
		_ = o.Close() // the flows have ended
	}
}

// CloseBut gives back what is not also another's. It leaves the outbounds whose flows live on
// a connection that Close would end, ssh's, and returns them.
func (w *Ways) CloseBut(other *Ways) (left []*proxyurl.Outbound) {
	for _, f := range w.Failovers {
		_ = f.Close() // its checks end; nothing else does
	}
	for _, u := range w.upstreams() {
		_ = u.Close() // what it was asked fails
	}
	for raw, o := range w.byURL {
		switch {
		case other != nil && other.byURL[raw] == o:
		case strings.Contains(raw, "ssh://"):
			left = append(left, o)
		default:
			_ = o.Close() // idle connections
		}
	}
	return left
}

func (w *Ways) upstreams() (all []dns.Upstream) {
	if w.Upstream != nil {
		all = append(all, w.Upstream)
	}
	for _, r := range w.DNSRules {
		if r.Upstream != nil {
			all = append(all, r.Upstream)
		}
	}
	return all
}

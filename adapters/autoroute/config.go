package autoroute

import (
	"errors"
	"fmt"
	"net/netip"
)

// Config says what Setup changes.
type Config struct {
	// Device is the name of the TUN interface, which must be there. Required.
	Device string

	// Addrs are given to it. An address makes its family one that the tunnel carries.
	// Default: DefaultAddrs4 and DefaultAddrs6. To have one family refused name only the
	// other.
	Addrs []netip.Prefix

	// MTU of the interface in bytes, 68 to 65535, and at least 1280 with an IPv6
	// address. Default: as it is.
	MTU int

	// Mark is that of our own sockets (SO_MARK), which are routed as if there were no
	// tunnel: direct.Dialer.Mark. Default: DefaultMark.
	Mark uint32

	// Table is the routing table that is ours: 1 and more, but none of the kernel's own
	// (253 to 255). The next one is ours, too, for DNS. Default: DefaultTable.
	Table int

	// Priority is that of the first rule; the last has 15 more. 1 to 32750. Default:
	// DefaultPriority.
	Priority int

	// Include are the destinations that go into the tunnel. Default: all of both
	// families.
	Include []netip.Prefix

	// Exclude are destinations that do not, except for DNS. Each is a rule, which the
	// kernel tries in turn for each new flow: a thousand of them cost.
	Exclude []netip.Prefix

	// IncludeUIDs, if not empty, are the users whose traffic goes into the tunnel.
	// Beware of a local resolver: it asks as a user of its own. Default: all, and what is
	// forwarded for others.
	IncludeUIDs []UIDRange

	// ExcludeUIDs are users whose traffic does not, DNS included.
	ExcludeUIDs []UIDRange

	// NoDNS leaves ports 53 and 853 to the other rules. Default: they are led into the
	// tunnel before these are asked.
	NoDNS bool

	// NoLAN leads what main has a route of its own for into the tunnel, too, and multicast
	// and broadcast. Default: they go as without us. Routes wider than /8 (IPv6: /4) count
	// as default routes.
	NoLAN bool

	// Inbound keeps TCP connections that come in from beyond the LAN, such as the SSH
	// connection by which somebody runs this: what is sent from an address of the host
	// that is not the tunnel's goes out as without us. A program that binds its
	// connections to such an address goes around the tunnel. Default: off.
	Inbound bool

	// Strict refuses whatever would go into the tunnel while there is none: when this
	// process has ended, in order or not, until Cleanup or the next Setup. It also keeps
	// programs that bind their sockets to another interface (SO_BINDTODEVICE), which
	// otherwise go around the tunnel, from its gateway: IPv6 is refused to them, and of
	// IPv4 they reach what is on that link. Default: off.
	Strict bool

	// DNS are resolvers that the host shall ask: they are set in systemd-resolved, if
	// the host uses it, else in ResolvConf. As DNS is led into the tunnel anyhow, this is
	// for hosts whose resolver listens on loopback, or on an address that the tunnel's
	// resolver does not serve. Default: none, nothing is set.
	DNS []netip.Addr

	// ResolvConf is the resolver's configuration. Default: /etc/resolv.conf.
	ResolvConf string

	// StateDir is where it is written down what has to be undone and cannot be
	// recognised; the file (0600) is also the lock against a second instance. It is made
	// if need be (0700). Default: /run/l3extract.
	StateDir string
}

// The defaults of Config's fields.
const (
	DefaultMark     = 0x6c33
	DefaultTable    = 27699
	DefaultPriority = 8000
	DefaultStateDir = "/run/l3extract"
	DefaultAddrs4   = "172.19.83.1/30"
	DefaultAddrs6   = "fd6c:3365:7874::1/126"
)

// Protocol is the number (FRA_PROTOCOL, RTA protocol) of all rules and routes made
// here.
const Protocol = 108

// UIDRange is a range of user IDs, both ends included.
type UIDRange struct {
	First, Last uint32 // numbers of users
}

// String returns the range as "1000-1999", or "1000" if it is one user.
func (r UIDRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// withDefaults returns a copy of c with the defaults filled in.
func (c *Config) withDefaults() Config {
	d := Config{}
	if c != nil {
		d = *c
	}
	if len(d.Addrs) == 0 {
		d.Addrs = []netip.Prefix{netip.MustParsePrefix(DefaultAddrs4), netip.MustParsePrefix(DefaultAddrs6)}
	}
	if d.Mark == 0 {
		d.Mark = DefaultMark
	}
	if d.Table == 0 {
		d.Table = DefaultTable
	}
	if d.Priority == 0 {
		d.Priority = DefaultPriority
	}
	if len(d.Include) == 0 {
		d.Include = []netip.Prefix{all4, all6}
	}
	if d.ResolvConf == "" {
		d.ResolvConf = "/etc/resolv.conf"
	}
	if d.StateDir == "" {
		d.StateDir = DefaultStateDir
	}
	return d
}

var (
	all4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	all6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// maxName is IFNAMSIZ without the final zero.
const maxName = 15

// validate judges a Config that has its defaults.
func (c *Config) validate() error {
	no := func(field string, value any, why string) error {
		return fmt.Errorf("autoroute: Config.%s %v: %s", field, value, why)
	}
	switch {
	case c.Device == "":
		return errors.New("autoroute: Config.Device is missing")
	case len(c.Device) > maxName:
		return no("Device", c.Device, "longer than 15 bytes")
	case c.Table < 1 || c.Table+dnsTable > 1<<31-1:
		return no("Table", c.Table, "want 1 to 2147483646")
	case c.Table+dnsTable >= 253 && c.Table <= 255:
		return no("Table", c.Table, "253 to 255 are the kernel's")
	case c.Priority < 1 || c.Priority > 32750:
		return no("Priority", c.Priority, "want 1 to 32750")
	case c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535):
		return no("MTU", c.MTU, "want 68 to 65535")
	case c.MTU != 0 && c.MTU < 1280 && c.carries(true):
		return no("MTU", c.MTU, "IPv6 in Config.Addrs needs 1280 at least")
	}
	for _, f := range []struct {
		field    string
		prefixes []netip.Prefix
	}{{"Addrs", c.Addrs}, {"Include", c.Include}, {"Exclude", c.Exclude}} {
		for _, p := range f.prefixes {
			switch {
			case !p.IsValid():
				return no(f.field, p, "no prefix")
			case p.Addr().Is4In6():
				return no(f.field, p, "an IPv4-mapped address")
			}
		}
	}
	for _, f := range []struct {
		field  string
		ranges []UIDRange
	}{{"IncludeUIDs", c.IncludeUIDs}, {"ExcludeUIDs", c.ExcludeUIDs}} {
		for _, r := range f.ranges {
			if r.Last < r.First || r.Last == 1<<32-1 {
				return no(f.field, r, "want a range that ends after its beginning, below 4294967295")
			}
		}
	}
	for _, a := range c.DNS {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return no("DNS", a, "no address of a resolver")
		}
	}
	return nil
}

// carries tells whether the tunnel has an address of the family.
func (c *Config) carries(v6 bool) bool {
	for _, p := range c.Addrs {
		if p.Addr().Is6() == v6 {
			return true
		}
	}
	return false
}

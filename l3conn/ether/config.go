package ether

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"l3extract/l3conn"
)

// Sizes in bytes.
const (
	// MaxMTU is the largest packet: what Linux lets a tap have.
	MaxMTU = 65521
	minMTU = 68
	// minMTU6 is the smallest link MTU of IPv6 (RFC 8200).
	minMTU6 = 1280
	// maxFrame is the longest frame of a carrier made here.
	maxFrame = MaxMTU + headerLen
)

// Defaults of Config.
const (
	DefaultNeighbours   = 1024
	DefaultNeighbourAge = 2 * time.Minute
	DefaultLeaseTime    = 12 * time.Hour
	DefaultLifetime     = 30 * time.Minute
)

// DefaultAddrs returns the gateway's addresses where Config.Addrs gives none.
func DefaultAddrs() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("192.168.127.1/24"), netip.MustParsePrefix("fd6c:3365::1/64")}
}

// Config is read once by New; nil and the zero value are the defaults.
type Config struct {
	// MAC is the gateway's. Default: DefaultMAC.
	MAC MAC
	// Addrs are the gateway's addresses with the networks of the segment; at most one
	// of IPv4. One of IPv6 brings the link-local one that belongs to MAC with it.
	// Default: DefaultAddrs.
	Addrs []netip.Prefix
	// MTU is the largest packet both ways, 68 to MaxMTU, with IPv6 at least 1280, in
	// bytes. Guests are told of it. Default: 1500.
	MTU int
	// Proxy answers for every address outside of the networks of Addrs: for guests
	// that know no gateway. Default: for the gateway's alone.
	Proxy bool
	// Routed lets guests send from addresses outside of the networks of Addrs, as
	// routers do. Default: such packets are dropped.
	Routed bool
	// Neighbours bounds the addresses whose MAC is known; one MAC has at most an
	// eighth of them. Default: DefaultNeighbours.
	Neighbours int
	// NeighbourAge is for how long nothing must have come from an address until
	// another MAC may have it. Default: DefaultNeighbourAge.
	NeighbourAge time.Duration
	// DNS are the resolvers that guests are told of. Default: the gateway.
	DNS []netip.Addr
	// Domain is the domain of the guests. Default: none.
	Domain string
	// DHCP gives addresses of IPv4, if Addrs has one.
	DHCP DHCPConfig
	// RA advertises the networks of IPv6 in Addrs, if there is one.
	RA RAConfig
	// OnLease, if set, is told of each address that DHCP has given for the first time
	// or to another guest. It runs on the goroutine that reads, and must not wait.
	OnLease func(Lease)
}

// DHCPConfig says which addresses are given.
type DHCPConfig struct {
	// Off: DHCP is no business of ours; its packets pass as any other.
	Off bool
	// First and Last bound them. At most 4096 addresses are used. Default: the network
	// of the gateway without its own address, the first and the last.
	First, Last netip.Addr
	// Fixed are addresses of certain guests, within the network.
	Fixed map[MAC]netip.Addr
	// LeaseTime is how long an address is given for, at least a minute. Default:
	// DefaultLeaseTime.
	LeaseTime time.Duration
}

// RAConfig is about router advertisements.
type RAConfig struct {
	// Off: none are sent, and guests that ask get no answer.
	Off bool
	// Lifetime is how long guests use the gateway and what it advertised without
	// hearing of it again, 1 minute to 150 minutes (RFC 8319); it is told three times in
	// that time. Default: DefaultLifetime.
	Lifetime time.Duration
}

// withDefaults returns c with its defaults, or an error that names the field.
func (c *Config) withDefaults() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	if d.MAC == (MAC{}) {
		d.MAC = DefaultMAC
	}
	if len(d.Addrs) == 0 {
		d.Addrs = DefaultAddrs()
	}
	d.Addrs, d.DNS = slices.Clone(d.Addrs), slices.Clone(d.DNS)
	orDefault(&d.MTU, l3conn.DefaultMTU)
	orDefault(&d.Neighbours, DefaultNeighbours)
	orDefault(&d.NeighbourAge, DefaultNeighbourAge)
	orDefault(&d.DHCP.LeaseTime, DefaultLeaseTime)
	orDefault(&d.RA.Lifetime, DefaultLifetime)
	gate4, gate6, err := d.checkAddrs()
	if err != nil {
		return d, err
	}
	least := minMTU
	if gate6 {
		least = minMTU6
	}
	switch {
	case !d.MAC.one():
		return d, fmt.Errorf("ether: Config.MAC %v is a group's", d.MAC)
	case d.MTU < least || d.MTU > MaxMTU:
		return d, fmt.Errorf("ether: Config.MTU %d is not within %d and %d", d.MTU, least, MaxMTU)
	case d.Neighbours < 8:
		return d, fmt.Errorf("ether: Config.Neighbours %d is less than 8", d.Neighbours)
	case d.NeighbourAge < 0:
		return d, fmt.Errorf("ether: Config.NeighbourAge %v is negative", d.NeighbourAge)
	case d.RA.Lifetime < time.Minute || d.RA.Lifetime > 150*time.Minute:
		return d, fmt.Errorf("ether: Config.RA.Lifetime %v is not within 1m and 150m", d.RA.Lifetime)
	case d.Domain != "" && !domain.MatchString(d.Domain) || len(d.Domain) > 253:
		return d, fmt.Errorf("ether: Config.Domain %q is no domain", d.Domain)
	}
	for _, a := range d.DNS {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6() {
			return d, fmt.Errorf("ether: Config.DNS %v is no address of a host", a)
		}
	}
	d.DHCP.Off = d.DHCP.Off || !gate4.IsValid()
	d.RA.Off = d.RA.Off || !gate6
	if d.DHCP.Off {
		return d, nil
	}
	return d, d.DHCP.check(gate4)
}

// domain is a name as DNS and DHCP have it, without a point at its end.
var domain = regexp.MustCompile(`^[0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?(\.[0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?)*$`)

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// checkAddrs returns the prefix of IPv4, and whether there is one of IPv6.
func (c *Config) checkAddrs() (gate4 netip.Prefix, gate6 bool, err error) {
	for _, p := range c.Addrs {
		a := p.Addr()
		why := ""
		switch {
		case !p.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4In6():
			why = "no address of a host with its network"
		case a.Is4() && p.Bits() > 30:
			why = "a network without room for guests"
		case a.Is4() && gate4.IsValid():
			why = "the second of IPv4"
		case a.Is4() && (a == p.Masked().Addr() || a == lastAddr(p)):
			why = "the address of a network or its broadcast address"
		case a.Is6() && a.IsLinkLocalUnicast():
			why = "link-local, which comes by itself"
		case a.Is6() && p.Bits() != 64 && !c.RA.Off:
			why = "no /64, without which guests make no addresses of it"
		}
		if why != "" {
			return gate4, false, fmt.Errorf("ether: Config.Addrs %v is %s", p, why)
		}
		if a.Is4() {
			gate4 = p
		} else {
			gate6 = true
		}
	}
	return gate4, gate6, nil
}

// maxPool bounds the addresses that DHCP gives.
const maxPool = 4096

// check completes and checks c, whose gateway is given.
func (c *DHCPConfig) check(gate netip.Prefix) error {
	first, last := gate.Masked().Addr(), lastAddr(gate)
	if !c.First.IsValid() {
		c.First = first.Next()
	}
	if !c.Last.IsValid() {
		c.Last = last.Prev()
	}
	for _, b := range []struct {
		field string
		a     netip.Addr
	}{{"First", c.First}, {"Last", c.Last}} {
		if !gate.Contains(b.a) || b.a == first || b.a == last {
			return fmt.Errorf("ether: Config.DHCP.%s %v is no guest's of %v", b.field, b.a, gate.Masked())
		}
	}
	if c.Last.Less(c.First) {
		return fmt.Errorf("ether: Config.DHCP.Last %v is before First %v", c.Last, c.First)
	}
	if c.LeaseTime < time.Minute || c.LeaseTime/time.Second >= 1<<32-1 {
		return fmt.Errorf("ether: Config.DHCP.LeaseTime %v is not within 1m and 2³² s", c.LeaseTime)
	}
	owner := make(map[netip.Addr]MAC)
	for m, a := range c.Fixed {
		switch other, twice := owner[a]; {
		case !m.one():
			return fmt.Errorf("ether: Config.DHCP.Fixed: %v is no MAC of a guest", m)
		case !gate.Contains(a) || a == first || a == last || a == gate.Addr():
			return fmt.Errorf("ether: Config.DHCP.Fixed: %v for %v is no guest's of %v", a, m, gate.Masked())
		case twice:
			return errors.New("ether: Config.DHCP.Fixed: " + a.String() + " for both " + m.String() + " and " + other.String())
		}
		owner[a] = m
	}
	return nil
}

// lastAddr is the last address of an IPv4 network: that of its broadcasts.
func lastAddr(p netip.Prefix) netip.Addr {
	if !p.IsValid() || !p.Addr().Is4() {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// Check returns the error that New would: for whoever reads a configuration before there
// is a carrier.
func (c *Config) Check() error {
	_, err := c.withDefaults()
	return err
}

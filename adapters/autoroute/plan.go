package autoroute

import (
	"net/netip"
	"slices"
)

// action is what a rule does with what it matches.
type action uint8

const (
	lookup      action = iota // look in a table; go on if there is no route
	jump                      // go on with the rule end
	unreachable               // refuse
	nop                       // nothing: where jump leads
)

// rule is one policy rule. It is comparable, so that what is there can be compared with
// what is wanted.
type rule struct {
	v6       bool
	priority int
	action   action
	table    int // of lookup
	target   int // of jump
	// narrow has lookup ignore what it finds if the route is no longer than suppress
	// bits.
	narrow   bool
	suppress int
	mark     uint32       // 0: any
	from, to netip.Prefix // invalid: any
	local    bool         // of this host only, nothing that is forwarded
	proto    int          // IP protocol; 0: any
	port     uint16       // destination; 0: any
	byUID    bool
	uids     UIDRange
}

// Offsets to Config.Priority. Those of a lookup into the tunnel are followed by that of
// its refusal, for when there is no tunnel.
const (
	atMark = iota
	atExcludedUID
	atDNS
	atDNSRefused
	atExcluded
	atLAN
	atOwnSource
	atOwnSourceRefused
	atInbound
	atTunnel
	atTunnelRefused
	atEnd = 15
)

// tableMain is RT_TABLE_MAIN; dnsTable is the offset of the table for DNS.
const (
	tableMain = 254
	dnsTable  = 1
)

const (
	protoTCP = 6
	protoUDP = 17
)

// dnsPorts are those of DNS, and of DNS over TLS, DTLS and QUIC.
var dnsPorts = []uint16{53, 853}

// rules returns the rules that c asks for in the order in which they have to come into
// being: no packet of our own is led into the tunnel in between.
func (c *Config) rules() (all []rule) {
	for _, v6 := range []bool{false, true} {
		all = append(all, c.family(v6)...)
	}
	return all
}

func (c *Config) family(v6 bool) []rule {
	at := func(offset int, r rule) rule {
		r.v6, r.priority = v6, c.Priority+offset
		return r
	}
	end := c.Priority + atEnd
	rules := []rule{
		// First: a jump to nowhere does nothing. Whom it matches does not matter, but the
		// kernel's list, as we get it, tells it from a refusal of all by nothing else.
		at(atEnd, rule{action: nop, mark: c.Mark}),
		at(atMark, rule{action: jump, target: end, mark: c.Mark}),
	}
	for _, u := range c.ExcludeUIDs {
		rules = append(rules, at(atExcludedUID, rule{action: jump, target: end, local: true, byUID: true, uids: u}))
	}
	for _, p := range c.Exclude {
		if p.Addr().Is6() == v6 {
			rules = append(rules, at(atExcluded, rule{action: jump, target: end, to: p.Masked()}))
		}
	}
	if !c.NoLAN {
		rules = append(rules, at(atLAN, rule{action: lookup, table: tableMain, narrow: true, suppress: widest(v6)}))
		for _, p := range toAll(v6) {
			rules = append(rules, at(atLAN, rule{action: jump, target: end, to: p}))
		}
	}
	if !c.NoDNS {
		for _, proto := range []int{protoUDP, protoTCP} {
			for _, port := range dnsPorts {
				rules = c.into(rules, at(atDNS, rule{table: c.Table + dnsTable, proto: proto, port: port}), true)
			}
		}
	}
	if c.Inbound {
		for _, from := range c.unbound(v6) {
			rules = c.into(rules, at(atOwnSource, rule{table: c.Table, local: true, proto: protoTCP, from: from}), c.everything(v6))
		}
		for _, from := range bound(v6) {
			rules = append(rules, at(atInbound, rule{action: jump, target: end, local: true, proto: protoTCP, from: from}))
		}
	}
	return c.into(rules, at(atTunnel, rule{table: c.Table}), c.everything(v6))
}

// into adds r, for each user that is included: a look into a table of ours and, where
// whole is set and there is or may be no tunnel, a refusal.
func (c *Config) into(rules []rule, r rule, whole bool) []rule {
	users := []rule{r}
	if len(c.IncludeUIDs) > 0 {
		users = nil
		for _, u := range c.IncludeUIDs {
			r := r
			r.local, r.byUID, r.uids = true, true, u
			users = append(users, r)
		}
	}
	for _, r := range users {
		rules = append(rules, r)
		if whole && c.refused(r.v6) {
			r.priority, r.action, r.table = r.priority+1, unreachable, 0
			rules = append(rules, r)
		}
	}
	return rules
}

// refused tells whether what is led into the tunnel may not go anywhere else if it
// cannot go there.
func (c *Config) refused(v6 bool) bool { return c.Strict || !c.carries(v6) }

// everything tells whether all destinations of the family are led into the tunnel. If
// only some are, the table refuses these.
func (c *Config) everything(v6 bool) bool {
	return slices.ContainsFunc(c.Include, func(p netip.Prefix) bool { return p.Bits() == 0 && p.Addr().Is6() == v6 })
}

// unbound are the sources of what has not been bound to an address of another
// interface: none yet, and the tunnel's. A rule of IPv6 with a source does not match
// what has none yet, and one of IPv4 does.
func (c *Config) unbound(v6 bool) (from []netip.Prefix) {
	if !v6 {
		from = append(from, netip.PrefixFrom(netip.IPv4Unspecified(), 32))
	}
	for _, p := range c.Addrs {
		if p.Addr().Is6() == v6 {
			from = append(from, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
	}
	return from
}

// bound are the sources of what has been bound, behind the rules for unbound.
func bound(v6 bool) []netip.Prefix {
	if !v6 {
		return []netip.Prefix{{}}
	}
	return []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}
}

// toAll are the destinations that stand for many on the LAN, for which main mostly has no
// route but the default. IPv6's are in the table that comes before all.
func toAll(v6 bool) []netip.Prefix {
	if v6 {
		return nil
	}
	return []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32")}
}

// widest is how long a route's prefix may be to count as a default route: some split
// it in two or a few, and a DHCP server that pushes such routes would have everything
// go around the tunnel.
func widest(v6 bool) int {
	if v6 {
		return 3
	}
	return 7
}

// route is one route of a table of ours.
type route struct {
	table int
	to    netip.Prefix
	// refuse is a route that says so. It is the last of its prefix, and stays when the
	// interface goes; the others lead into the tunnel.
	refuse bool
}

// routes returns the routes that c asks for.
func (c *Config) routes() (all []route) {
	for _, v6 := range []bool{false, true} {
		any := all4
		if v6 {
			any = all6
		}
		if c.carries(v6) && !c.NoDNS {
			all = append(all, route{table: c.Table + dnsTable, to: any})
		}
		for _, p := range c.Include {
			if p.Addr().Is6() != v6 {
				continue
			}
			if c.carries(v6) {
				all = append(all, route{table: c.Table, to: p.Masked()})
			}
			if c.refused(v6) && p.Bits() > 0 {
				all = append(all, route{table: c.Table, to: p.Masked(), refuse: true})
			}
		}
	}
	return all
}

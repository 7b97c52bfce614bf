package forward

import (
	"fmt"
	"net/netip"
	"syscall"

	"l3extract/stack"
)

// Policy says which addresses may be dialled and sent to. It judges addresses as
// they are dialled: after names were resolved, with IPv4-mapped addresses
// unmapped, and addresses that carry another in a special-use prefix (NAT64,
// 6to4, Teredo, and the IPv4-compatible and -translated ones) by both. The zero
// Policy refuses loopback (127/8, ::1), unspecified (0/8, ::), link-local
// addresses (169.254/16, fe80::/10) and the well-known others of cloud metadata
// services, multicast, broadcast, and a stack's own addresses. All methods may be
// called at once.
type Policy struct {
	// AllowLoopback permits the host's loopback addresses.
	AllowLoopback bool

	// AllowLinkLocal permits link-local addresses and with them the metadata
	// services of clouds, which hand out credentials to whoever asks.
	AllowLinkLocal bool

	// DenyPrivate refuses addresses that are not meant for the Internet: private
	// (RFC 1918, RFC 4193), shared (RFC 6598) and the local NAT64 prefix.
	DenyPrivate bool

	// Deny are networks that are refused as well.
	Deny []netip.Prefix

	// Allow are exceptions from all of the above, and from the ban of the stack's
	// own addresses. Multicast is refused nevertheless: nothing that is forwarded
	// here could be answered.
	Allow []netip.Prefix
}

// PolicyError says that a Policy refused an address. It matches stack.Policy and
// syscall.EACCES, so that a client is told "administratively prohibited".
type PolicyError struct {
	Addr netip.Addr // as it was to be dialled; zero if Why names it
	Why  string     // the rule, such as "loopback"
}

// Error implements error.
func (e *PolicyError) Error() string {
	if !e.Addr.IsValid() {
		return fmt.Sprintf("policy refuses %s", e.Why)
	}
	return fmt.Sprintf("policy refuses %v (%s)", e.Addr, e.Why)
}

// Unwrap implements the matching of errors.Is.
func (e *PolicyError) Unwrap() []error { return []error{stack.Policy, syscall.EACCES} }

// Judge returns nil if a may be reached, else a *PolicyError. It does not know
// the addresses of any stack.
func (p *Policy) Judge(a netip.Addr) error { return p.judge(a, nil) }

// judge is Judge that knows a stack's own addresses.
func (p *Policy) judge(a netip.Addr, own map[netip.Addr]bool) error {
	a = a.Unmap().WithZone("")
	if why := p.objection(a, own); why != "" {
		return &PolicyError{Addr: a, Why: why}
	}
	return nil
}

// objection names the rule that refuses a, which is unmapped and has no zone.
func (p *Policy) objection(a netip.Addr, own map[netip.Addr]bool) string {
	switch {
	case !a.IsValid():
		return "no address"
	case a.IsMulticast():
		return "multicast"
	case contains(p.Allow, a):
		return ""
	case own[a]:
		return "the stack's own address"
	case contains(p.Deny, a):
		return "denied"
	}
	if why := p.kind(a); why != "" {
		return why
	}
	if a.Is6() {
		for _, v4 := range embedded(a) {
			if why := p.objection(v4, own); why != "" {
				return why + ", as " + v4.String()
			}
		}
	}
	return ""
}

// kind objects to a for what kind of address it is.
func (p *Policy) kind(a netip.Addr) string {
	switch {
	case a.IsUnspecified(), thisNetwork.Contains(a):
		return "unspecified"
	case a.IsLoopback():
		if !p.AllowLoopback {
			return "loopback"
		}
	case a.IsLinkLocalUnicast():
		if !p.AllowLinkLocal {
			return "link-local"
		}
	case metadata[a]:
		if !p.AllowLinkLocal {
			return "metadata service"
		}
	case a == broadcast:
		return "broadcast"
	}
	if p.DenyPrivate && (a.IsPrivate() || contains(notPublic, a)) {
		return "private"
	}
	return ""
}

var (
	broadcast   = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8") // RFC 1122, 3.2.1.3: Linux connects 0.0.0.0 to itself

	// metadata are the addresses of cloud metadata services that are not
	// link-local: EC2 and its pod identity agent, Compute Engine, Alibaba.
	metadata = map[netip.Addr]bool{
		netip.MustParseAddr("fd00:ec2::254"):   true,
		netip.MustParseAddr("fd00:ec2::23"):    true,
		netip.MustParseAddr("fd20:ce::254"):    true,
		netip.MustParseAddr("100.100.100.200"): true,
	}

	// notPublic is what IsPrivate leaves out.
	notPublic = []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"), // RFC 6598
		netip.MustParsePrefix("fec0::/10"),     // RFC 3879, still routed by some
		localNAT64,
	}
)

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) || p.Addr().Is4In6() && unmapped(p).Contains(a) {
			return true
		}
	}
	return false
}

// unmapped returns the IPv4 prefix that an IPv4-mapped one stands for.
func unmapped(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
}

package router

import (
	"net/netip"
	"slices"
	"strings"
)

// prefixes maps prefixes to T, for addresses in any of them. A look-up costs as much as
// there are lengths of prefixes, however many there are of each.
type prefixes[T any] struct {
	m       map[netip.Prefix]T
	lengths [2][]int // that occur, of IPv4 and IPv6
}

// add maps p to what f makes of what it is mapped to.
func (s *prefixes[T]) add(p netip.Prefix, f func(T) T) {
	p = plainPrefix(p)
	if s.m == nil {
		s.m = make(map[netip.Prefix]T)
	}
	s.m[p] = f(s.m[p])
	lengths := &s.lengths[family(p.Addr())]
	if !slices.Contains(*lengths, p.Bits()) {
		*lengths = append(*lengths, p.Bits())
	}
}

// all calls f with what each prefix that holds a is mapped to, until it returns false.
func (s *prefixes[T]) all(a netip.Addr, f func(T) bool) {
	for _, n := range s.lengths[family(a)] {
		p, err := a.Prefix(n)
		if err != nil {
			return // no address
		}
		if v, ok := s.m[p]; ok && !f(v) {
			return
		}
	}
}

// contains tells whether a prefix holds a.
func (s *prefixes[T]) contains(a netip.Addr) (found bool) {
	s.all(a, func(T) bool { found = true; return false })
	return found
}

// plainPrefix is p without bits of hosts, IPv4 as such.
func plainPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// networks are those of flows, as bits.
type networks uint8

const (
	isTCP networks = 1 << iota
	isUDP
	isICMP
)

var networkNames = map[string]networks{"tcp": isTCP, "udp": isUDP, "icmp": isICMP}

func networkOf(name string) networks { return networkNames[name] }

// domain is one of Rule.Domains.
type domain struct {
	name        string // without what is in front of it
	self, below bool
}

// parseDomain reads one; why says what is wrong with it.
func parseDomain(s string) (d domain, why string) {
	name, all := strings.CutPrefix(s, ".")
	if all {
		d.self, d.below = true, true
	} else if name, d.below = strings.CutPrefix(s, "*."); !d.below {
		d.self = true
	}
	d.name = plainName(name)
	switch {
	case d.name == "":
		return d, "there is no name"
	case len(d.name) > 253:
		return d, "a name has at most 253 bytes"
	}
	for label := range strings.SplitSeq(d.name, ".") {
		if label == "" || len(label) > 63 {
			return d, "a name is of labels of 1 to 63 bytes between dots"
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			case c == '*':
				return d, "an asterisk may be in front only, as in *.example.com"
			case c >= 0x80:
				return d, "names of other letters are written as in the DNS (xn--)"
			default:
				return d, "only letters, digits, - and _ are in names"
			}
		}
	}
	return d, ""
}

// plainName is name as names are compared. It allocates for upper case only.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

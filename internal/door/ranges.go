package door

import (
	"cmp"
	"net/netip"
	"slices"
)

// ranges is a set of addresses: sorted ranges that do not overlap, so that a long
// list of sources costs a packet a few comparisons.
type ranges []addrRange

type addrRange struct{ first, last netip.Addr }

// newRanges returns the union of prefixes. netip sorts every IPv4 address before
// every IPv6 one, so no range holds both.
func newRanges(prefixes []netip.Prefix) ranges {
	var all ranges
	for _, p := range prefixes {
		if p, ok := unmap(p); ok {
			p = p.Masked()
			all = append(all, addrRange{p.Addr(), last(p)})
		}
	}
	slices.SortFunc(all, func(a, b addrRange) int {
		return cmp.Or(a.first.Compare(b.first), b.last.Compare(a.last))
	})
	// Of two prefixes that overlap one holds the other, and it sorts first. IPv4 ends
	// before IPv6 begins, so comparing the ends is enough.
	merged := all[:0]
	for _, r := range all {
		if n := len(merged); n == 0 || merged[n-1].last.Less(r.last) {
			merged = append(merged, r)
		}
	}
	return merged
}

// contains reports whether a, without a zone, is in the set.
func (r ranges) contains(a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(r, a, func(e addrRange, a netip.Addr) int {
		return e.first.Compare(a)
	})
	if found {
		return true
	}
	return i > 0 && !r[i-1].last.Less(a) // r[i] begins behind a
}

// unmap returns p as an IPv4 prefix if it is one in IPv6 clothes, and whether it is
// valid at all.
func unmap(p netip.Prefix) (netip.Prefix, bool) {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, p.IsValid()
}

// last returns the last address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		a = a.Unmap()
	}
	return a
}

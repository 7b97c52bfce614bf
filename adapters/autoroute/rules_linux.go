package autoroute

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// families are what there is: a kernel without IPv6 leaks none.
func (k *kernel) families() []int {
	if !k.hasIPv6 {
		return []int{unix.AF_INET}
	}
	return []int{unix.AF_INET, unix.AF_INET6}
}

func familyOf(v6 bool) int {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// netlink returns the rule as the library has it.
func (r rule) netlink() *netlink.Rule {
	n := netlink.NewRule()
	n.Family, n.Priority, n.Protocol = familyOf(r.v6), r.priority, Protocol
	switch r.action {
	case lookup:
		n.Table = r.table
		if r.narrow {
			n.SuppressPrefixlen = r.suppress
		}
	case jump:
		n.Goto = r.target
	case unreachable:
		n.Type = nl.FR_ACT_UNREACHABLE
	case nop:
		n.Type = nl.FR_ACT_NOP
	}
	if r.mark != 0 {
		mask := ^uint32(0)
		n.Mark, n.Mask = r.mark, &mask
	}
	n.Src, n.Dst = ipNet(r.from), ipNet(r.to)
	if r.local {
		n.IifName = "lo"
	}
	n.IPProto = r.proto
	if r.port != 0 {
		n.Dport = netlink.NewRulePortRange(r.port, r.port)
	}
	if r.byUID {
		n.UIDRange = netlink.NewRuleUIDRange(r.uids.First, r.uids.Last)
	}
	return n
}

// ruleOf is the way back. What a rule without a table does the library does not tell:
// it is nop here.
func ruleOf(n netlink.Rule) rule {
	r := rule{v6: n.Family == unix.AF_INET6, priority: n.Priority, mark: n.Mark, proto: n.IPProto, local: n.IifName == "lo"}
	switch {
	case n.Goto > 0:
		r.action, r.target = jump, n.Goto
	case n.Table > 0:
		r.action, r.table = lookup, n.Table
		if n.SuppressPrefixlen >= 0 {
			r.narrow, r.suppress = true, n.SuppressPrefixlen
		}
	default:
		r.action = nop
	}
	r.from, r.to = prefixOf(n.Src), prefixOf(n.Dst)
	if n.Dport != nil {
		r.port = n.Dport.Start
	}
	if n.UIDRange != nil {
		r.byUID, r.uids = true, UIDRange{n.UIDRange.Start, n.UIDRange.End}
	}
	return r
}

// key is what of a rule the library tells. A nop has a mark, and a refusal has none, so
// no two rules that differ have the same.
func (r rule) key() rule {
	if r.action == unreachable {
		r.action = nop
	}
	return r
}

func ipNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a, bits)
}

// again repeats a dump that somebody else's change came in the middle of, which may have
// left something out. A host with a routing daemon changes much, but pauses in between.
func again[T any](dump func() (T, error)) (all T, err error) {
	for range 100 {
		if all, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// ourRules lists the rules of this package.
func (k *kernel) ourRules() (ours []netlink.Rule, err error) {
	for _, family := range k.families() {
		all, err := again(func() ([]netlink.Rule, error) { return k.h.RuleList(family) })
		if err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for _, r := range all {
			if r.Protocol == Protocol {
				ours = append(ours, r)
			}
		}
	}
	return ours, nil
}

// setRules makes the rules of this package those that are wanted, new ones first: what
// was refused or led into a tunnel is so at any moment.
func (k *kernel) setRules(want []rule) error {
	have, err := k.ourRules()
	if err != nil {
		return err
	}
	there := make(map[rule]bool)
	for _, n := range have {
		there[ruleOf(n).key()] = true
	}
	wanted := make(map[rule]bool)
	for _, r := range want {
		if r.v6 && !k.hasIPv6 || wanted[r.key()] {
			continue
		}
		wanted[r.key()] = true
		if there[r.key()] {
			continue
		}
		if err := k.h.RuleAdd(r.netlink()); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %d: %w", r.priority, err)
		}
	}
	return k.dropRules(have, func(n netlink.Rule) bool { return !wanted[ruleOf(n).key()] })
}

// dropRules removes those of the rules that drop tells, in an order in which our own
// packets are never led into the tunnel: the last to be asked first, and where rules
// jump to last.
func (k *kernel) dropRules(have []netlink.Rule, drop func(netlink.Rule) bool) error {
	targets := make(map[int]bool)
	for _, n := range have {
		if n.Goto > 0 {
			targets[n.Goto] = true
		}
	}
	have = slices.DeleteFunc(slices.Clone(have), func(n netlink.Rule) bool { return !drop(n) })
	slices.SortStableFunc(have, func(a, b netlink.Rule) int {
		at, bt := targets[a.Priority], targets[b.Priority]
		if at != bt {
			if at {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.Priority, a.Priority)
	})
	var errs []error
	for _, n := range have {
		if err := k.h.RuleDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove rule %d: %w", n.Priority, err))
		}
	}
	return join(errs...)
}

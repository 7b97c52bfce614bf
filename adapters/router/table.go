package router

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"l3extract/adapters/outbound"
)

// table is a Config made ready to be asked. It does not change.
//
// A rule is looked for by what narrows it down most: its domains, else its destinations;
// only what has neither is tried for each flow. So the cost of a look-up does not grow
// with long lists of either.
type table struct {
	names     Names
	sniff     []PortRange
	outbounds []*Outbound
	used      []atomic.Uint64 // flows that went by each of outbounds
	hits      []atomic.Uint64 // flows that matched each of rules
	unmatched atomic.Uint64

	rules        []rule
	byName       map[string][]int32 // exactly this; rules in their order
	below        map[string][]int32 // and all below it
	destinations prefixes[[]int32]
	others       []int32
	fallback     int // outbound of what no rule matches; -1: none
}

// rule is a Rule made ready.
type rule struct {
	outbound     int
	networks     networks // 0: all
	ports        []PortRange
	sources      *prefixes[struct{}] // nil: all
	destinations *prefixes[struct{}] // nil: all, or looked for by them already
}

// subject is a flow as rules see it.
type subject struct {
	network  networks
	src, dst netip.Addr
	port     uint16
	name     string
}

func (r *rule) matches(s *subject) bool {
	if r.networks != 0 && r.networks&s.network == 0 {
		return false
	}
	if len(r.ports) > 0 && !inRanges(r.ports, s.port) {
		return false
	}
	return (r.sources == nil || r.sources.contains(s.src)) &&
		(r.destinations == nil || r.destinations.contains(s.dst))
}

func inRanges(ranges []PortRange, port uint16) bool {
	for _, r := range ranges {
		if r.contains(port) {
			return true
		}
	}
	return false
}

// find returns the first rule that matches, or -1.
func (t *table) find(s *subject) int {
	best := int32(len(t.rules))
	look := func(candidates []int32) bool {
		for _, i := range candidates {
			if i >= best {
				break
			}
			if t.rules[i].matches(s) {
				best = i
				break
			}
		}
		return true
	}
	look(t.others)
	t.destinations.all(s.dst, look)
	if s.name != "" {
		look(t.byName[s.name])
		for rest := s.name; len(t.below) > 0; {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			look(t.below[rest])
		}
	}
	if best == int32(len(t.rules)) {
		return -1
	}
	return int(best)
}

// newTable checks cfg and makes it ready.
func newTable(cfg *Config) (*table, error) {
	t := &table{
		names: cfg.Names, byName: make(map[string][]int32), below: make(map[string][]int32),
		fallback: -1, used: make([]atomic.Uint64, len(cfg.Outbounds)), hits: make([]atomic.Uint64, len(cfg.Rules)),
	}
	known := make(map[string]int, len(cfg.Outbounds))
	for i := range cfg.Outbounds {
		o := cfg.Outbounds[i]
		field := fmt.Sprintf("Outbounds[%d].Name", i)
		if err := checkOutbound(&o, field, known); err != nil {
			return nil, err
		}
		known[o.Name] = i
		t.outbounds = append(t.outbounds, &o)
	}
	for i, r := range cfg.SniffPorts {
		if !r.valid() {
			return nil, wrong(fmt.Sprintf("SniffPorts[%d]", i), r, "want ports of 1 to 65535, the first one first")
		}
		t.sniff = append(t.sniff, r)
	}
	if cfg.Default != "" {
		i, ok := known[cfg.Default]
		if !ok {
			return nil, wrong("Default", cfg.Default, "there is no outbound of this name")
		}
		t.fallback = i
	}
	for i := range cfg.Rules {
		if err := t.add(int32(i), &cfg.Rules[i], known); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func checkOutbound(o *Outbound, field string, known map[string]int) error {
	if o.Name == "" {
		return wrong(field, "", "an outbound needs a name")
	}
	if _, twice := known[o.Name]; twice {
		return wrong(field, o.Name, "there are two outbounds of this name")
	}
	if o.Dialer == nil && o.PacketListener == nil && o.Handler == nil {
		return wrong(field, o.Name, "it has no Dialer, no PacketListener and no Handler")
	}
	if o.PacketListener == nil && o.Dialer != nil {
		o.PacketListener, _ = o.Dialer.(outbound.PacketListener)
	}
	return nil
}

// add adds rule i.
func (t *table) add(i int32, r *Rule, known map[string]int) error {
	at := func(field string, j int) string { return fmt.Sprintf("Rules[%d].%s[%d]", i, field, j) }
	out, ok := known[r.Outbound]
	if !ok {
		return wrong(fmt.Sprintf("Rules[%d].Outbound", i), r.Outbound, "there is no outbound of this name")
	}
	c := rule{outbound: out}
	for j, name := range r.Networks {
		n := networkOf(name)
		if n == 0 {
			return wrong(at("Networks", j), name, "want tcp, udp or icmp")
		}
		c.networks |= n
	}
	for j, p := range r.Ports {
		if !p.valid() {
			return wrong(at("Ports", j), p, "want ports of 1 to 65535, the first one first")
		}
		c.ports = append(c.ports, p)
	}
	keep := func(struct{}) struct{} { return struct{}{} }
	for j, p := range r.Sources {
		if !p.IsValid() {
			return wrong(at("Sources", j), p, "want a prefix such as 192.0.2.0/24")
		}
		if c.sources == nil {
			c.sources = new(prefixes[struct{}])
		}
		c.sources.add(p, keep)
	}
	for j, p := range r.Destinations {
		if !p.IsValid() {
			return wrong(at("Destinations", j), p, "want a prefix such as 192.0.2.0/24")
		}
		if len(r.Domains) == 0 {
			t.destinations.add(p, func(is []int32) []int32 { return once(is, i) })
			continue
		}
		if c.destinations == nil {
			c.destinations = new(prefixes[struct{}])
		}
		c.destinations.add(p, keep)
	}
	for j, s := range r.Domains {
		d, why := parseDomain(s)
		if why != "" {
			return wrong(at("Domains", j), s, why)
		}
		if d.self {
			t.byName[d.name] = once(t.byName[d.name], i)
		}
		if d.below {
			t.below[d.name] = once(t.below[d.name], i)
		}
	}
	if len(r.Domains)+len(r.Destinations) == 0 {
		t.others = append(t.others, i)
	}
	t.rules = append(t.rules, c)
	return nil
}

// once appends i to is, which is in order, unless it is the last already.
func once(is []int32, i int32) []int32 {
	if len(is) > 0 && is[len(is)-1] == i {
		return is
	}
	return append(is, i)
}

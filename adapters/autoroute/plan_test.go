package autoroute

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// String is how ip rule would have it, shortened.
func (r rule) String() string {
	var s []string
	add := func(on bool, format string, args ...any) {
		if on {
			s = append(s, fmt.Sprintf(format, args...))
		}
	}
	add(true, "%d", r.priority-DefaultPriority)
	add(r.mark != 0, "mark %#x", r.mark)
	add(r.from.IsValid(), "from %v", r.from)
	add(r.to.IsValid(), "to %v", r.to)
	add(r.local, "local")
	add(r.byUID, "uid %v", r.uids)
	add(r.proto != 0, "proto %d", r.proto)
	add(r.port != 0, "port %d", r.port)
	switch r.action {
	case lookup:
		add(true, "table %d", r.table)
		add(r.narrow, "but %d", r.suppress)
	case jump:
		add(true, "end")
	case unreachable:
		add(true, "refuse")
	case nop:
		add(true, "nop")
	}
	return strings.Join(s, " ")
}

// of returns the rules of one family, in the order in which they are asked.
func of(c *Config, v6 bool) (lines []string) {
	rules := slices.DeleteFunc(c.rules(), func(r rule) bool { return r.v6 != v6 })
	slices.SortStableFunc(rules, func(a, b rule) int { return a.priority - b.priority })
	for _, r := range rules {
		lines = append(lines, r.String())
	}
	return lines
}

func TestRules(t *testing.T) {
	const mark = "0 mark 0x6c33 end"
	for name, tc := range map[string]struct {
		cfg    Config
		v4, v6 []string
	}{
		"default": {
			Config{},
			[]string{mark, "2 proto 17 port 53 table 27700", "2 proto 17 port 853 table 27700", "2 proto 6 port 53 table 27700",
				"2 proto 6 port 853 table 27700", "5 table 254 but 7", "5 to 224.0.0.0/4 end", "5 to 255.255.255.255/32 end", "9 table 27699", "15 mark 0x6c33 nop"},
			[]string{mark, "2 proto 17 port 53 table 27700", "2 proto 17 port 853 table 27700", "2 proto 6 port 53 table 27700",
				"2 proto 6 port 853 table 27700", "5 table 254 but 3", "9 table 27699", "15 mark 0x6c33 nop"},
		},
		"strict, and no more": {
			Config{Strict: true, NoDNS: true, NoLAN: true},
			[]string{mark, "9 table 27699", "10 refuse", "15 mark 0x6c33 nop"},
			[]string{mark, "9 table 27699", "10 refuse", "15 mark 0x6c33 nop"},
		},
		"IPv4 only": {
			Config{Addrs: prefixes("10.0.0.1/32"), NoDNS: true},
			[]string{mark, "5 table 254 but 7", "5 to 224.0.0.0/4 end", "5 to 255.255.255.255/32 end", "9 table 27699", "15 mark 0x6c33 nop"},
			[]string{mark, "5 table 254 but 3", "9 table 27699", "10 refuse", "15 mark 0x6c33 nop"},
		},
		"users": {
			Config{IncludeUIDs: []UIDRange{{1, 2}, {4, 4}}, ExcludeUIDs: []UIDRange{{2, 2}}, NoDNS: true, Strict: true},
			[]string{mark, "1 local uid 2 end", "5 table 254 but 7", "5 to 224.0.0.0/4 end", "5 to 255.255.255.255/32 end", "9 local uid 1-2 table 27699", "9 local uid 4 table 27699",
				"10 local uid 1-2 refuse", "10 local uid 4 refuse", "15 mark 0x6c33 nop"},
			nil,
		},
		"destinations": { // the table refuses what is included
			Config{Include: prefixes("10.1.0.0/16", "2001:db8::/32"), Exclude: prefixes("10.1.2.3/24", "2001:db8:1::/48"), NoDNS: true, Strict: true},
			[]string{mark, "4 to 10.1.2.0/24 end", "5 table 254 but 7", "5 to 224.0.0.0/4 end", "5 to 255.255.255.255/32 end", "9 table 27699", "15 mark 0x6c33 nop"},
			[]string{mark, "4 to 2001:db8:1::/48 end", "5 table 254 but 3", "9 table 27699", "15 mark 0x6c33 nop"},
		},
		"inbound": {
			Config{Inbound: true, NoDNS: true, NoLAN: true, Strict: true},
			[]string{mark, "6 from 0.0.0.0/32 local proto 6 table 27699", "6 from 172.19.83.1/32 local proto 6 table 27699",
				"7 from 0.0.0.0/32 local proto 6 refuse", "7 from 172.19.83.1/32 local proto 6 refuse",
				"8 local proto 6 end", "9 table 27699", "10 refuse", "15 mark 0x6c33 nop"},
			[]string{mark, "6 from fd6c:3365:7874::1/128 local proto 6 table 27699", "7 from fd6c:3365:7874::1/128 local proto 6 refuse",
				"8 from ::/1 local proto 6 end", "8 from 8000::/1 local proto 6 end", "9 table 27699", "10 refuse", "15 mark 0x6c33 nop"},
		},
	} {
		c := tc.cfg.withDefaults()
		if got := of(&c, false); !slices.Equal(got, tc.v4) {
			t.Errorf("%s: IPv4\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(tc.v4, "\n"))
		}
		if got := of(&c, true); tc.v6 != nil && !slices.Equal(got, tc.v6) {
			t.Errorf("%s: IPv6\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(tc.v6, "\n"))
		}
	}
}

// TestRulesOrder: whatever is configured, our own packets are exempt before anything
// is led into the tunnel, and a jump finds its target there.
func TestRulesOrder(t *testing.T) {
	c := (&Config{
		Inbound: true, Strict: true, IncludeUIDs: []UIDRange{{1, 1}}, ExcludeUIDs: []UIDRange{{2, 2}}, Exclude: prefixes("1.1.1.1/32", "::1/128"),
	}).withDefaults()
	there, marked := make(map[rule]bool), make(map[bool]bool)
	for _, r := range c.rules() {
		if r.action == jump && !there[rule{v6: r.v6, priority: r.target, action: nop, mark: c.Mark}] {
			t.Errorf("%v jumps to what is not there yet", r)
		}
		if r.mark != 0 && r.action == jump {
			marked[r.v6] = true
		}
		if r.action == lookup && r.table != tableMain && !marked[r.v6] {
			t.Errorf("%v comes before the mark's", r)
		}
		there[r] = true
	}
}

func routeLines(routes []route) string {
	var s []string
	for _, r := range routes {
		s = append(s, fmt.Sprintf("{%d %v %v}", r.table, r.to, r.refuse))
	}
	return strings.Join(s, " ")
}

func TestRoutes(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"default":      {Config{Strict: true}, "{27700 0.0.0.0/0 false} {27699 0.0.0.0/0 false} {27700 ::/0 false} {27699 ::/0 false}"},
		"IPv4 only":    {Config{Addrs: prefixes("10.0.0.1/32"), NoDNS: true}, "{27699 0.0.0.0/0 false}"},
		"some":         {Config{Include: prefixes("10.0.0.1/8"), NoDNS: true}, "{27699 10.0.0.0/8 false}"},
		"some, strict": {Config{Include: prefixes("10.0.0.1/8"), NoDNS: true, Strict: true}, "{27699 10.0.0.0/8 false} {27699 10.0.0.0/8 true}"},
		"some of what is not carried": {
			Config{Addrs: prefixes("10.0.0.1/32"), Include: prefixes("10.0.0.0/8", "2001:db8::/32"), NoDNS: true},
			"{27699 10.0.0.0/8 false} {27699 2001:db8::/32 true}",
		},
	} {
		c := tc.cfg.withDefaults()
		if got := routeLines(c.routes()); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

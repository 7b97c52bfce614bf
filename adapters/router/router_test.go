package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// TestRules: the first rule that fits counts, by whatever it is looked for.
func TestRules(t *testing.T) {
	w := new(listener)
	cfg := &Config{Outbounds: []Outbound{{Name: "x", Dialer: w}}, Default: "x"}
	for _, r := range []Rule{
		0:  {Domains: []string{"ads.example.com"}, Ports: []PortRange{Port(80)}},
		1:  {Domains: []string{".example.com"}, Networks: []string{"tcp"}},
		2:  {Destinations: nets("10.0.0.0/8"), Networks: []string{"udp", "icmp"}},
		3:  {Destinations: nets("10.1.0.0/16", "10.2.0.0/16", "fd00::/8")},
		4:  {Sources: nets("198.51.100.0/24")},
		5:  {Domains: []string{"*.Example.NET.", "example.org"}, Destinations: nets("203.0.113.0/24")},
		6:  {Destinations: nets("0.0.0.0/0"), Ports: []PortRange{{8000, 8999}, Port(53)}},
		7:  {Destinations: nets("10.1.2.3/32")},
		8:  {Networks: []string{"icmp"}},
		9:  {Destinations: nets("::ffff:192.168.0.0/120", "192.168.1.77/24")},
		10: {Domains: []string{"com"}},
	} {
		r.Outbound = "x"
		cfg.Rules = append(cfg.Rules, r)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		f    outbound.Flow
		want int
	}{
		{flow("tcp", "203.0.113.1:80", "ads.example.com"), 0},
		{flow("tcp", "203.0.113.1:443", "ads.example.com"), 1},
		{flow("tcp", "203.0.113.1:443", "EXAMPLE.com."), 1},
		{flow("udp", "203.0.113.1:443", "example.com"), -1},
		{flow("udp", "203.0.113.1:443", "com"), 10},
		{flow("tcp", "203.0.113.1:443", "notexample.com"), -1},
		{flow("udp", "10.1.2.3:443", ""), 2},
		{flow("icmp", "10.1.2.3:0", ""), 2},
		{flow("tcp", "10.1.2.3:443", ""), 3},
		{flow("tcp", "10.3.2.3:443", ""), -1},
		{flow("tcp", "[fd12::1]:443", ""), 3},
		{flow("tcp", "[fe12::1]:443", ""), -1},
		{flow("tcp", "203.0.113.1:443", "a.example.net"), 5},
		{flow("tcp", "203.0.113.1:443", "a.b.example.net"), 5},
		{flow("tcp", "203.0.113.1:443", "example.net"), -1},
		{flow("tcp", "203.0.114.1:443", "a.example.net"), -1},
		{flow("tcp", "203.0.113.1:443", "example.org"), 5},
		{flow("tcp", "203.0.113.1:443", "www.example.org"), -1},
		{flow("tcp", "203.0.113.1:8000", ""), 6},
		{flow("tcp", "203.0.113.1:8999", ""), 6},
		{flow("tcp", "203.0.113.1:9000", ""), -1},
		{flow("udp", "203.0.113.1:53", ""), 6},
		{flow("udp", "[2001:db8::1]:53", ""), -1},
		{flow("icmp", "[2001:db8::1]:0", ""), 8},
		{flow("tcp", "192.168.0.1:443", ""), 9},
		{flow("tcp", "192.168.1.1:443", ""), 9},
		{flow("tcp", "192.168.2.1:443", ""), -1},
		{outbound.Flow{Network: "tcp", Source: netip.MustParseAddrPort("198.51.100.4:1"), Destination: netip.MustParseAddrPort("8.8.8.8:1")}, 4},
		{outbound.Flow{}, -1},
	} {
		if got, name := r.Find(tc.f); got != tc.want || name != "x" {
			t.Errorf("%v: rule %d by %q, want %d", tc.f, got, name, tc.want)
		}
	}
}

// slow finds a rule as Config says it, one after the other.
func slow(cfg *Config, f outbound.Flow) int {
	name := plainName(f.Name)
	for i, r := range cfg.Rules {
		in := func(ps []netip.Prefix, a netip.Addr) bool {
			return len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		named := len(r.Domains) == 0 || name != "" && slices.ContainsFunc(r.Domains, func(s string) bool {
			if rest, ok := strings.CutPrefix(s, "*"); ok {
				return strings.HasSuffix(name, rest) && len(name) > len(rest)
			}
			if rest, ok := strings.CutPrefix(s, "."); ok {
				return name == rest || strings.HasSuffix(name, s)
			}
			return name == s
		})
		port := len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p PortRange) bool { return p.First <= f.Destination.Port() && f.Destination.Port() <= p.Last })
		network := len(r.Networks) == 0 || slices.Contains(r.Networks, f.Network)
		if in(r.Sources, f.Source.Addr()) && in(r.Destinations, f.Destination.Addr()) && named && port && network {
			return i
		}
	}
	return -1
}

// TestRulesAtRandom: the tables find what going through the rules finds.
func TestRulesAtRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	labels := []string{"a", "b", "c", "example", "com"}
	name := func() string {
		var parts []string
		for range 1 + rnd.IntN(4) {
			parts = append(parts, labels[rnd.IntN(len(labels))])
		}
		return strings.Join(parts, ".")
	}
	addr := func() netip.Addr {
		if rnd.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(rnd.IntN(2)), byte(rnd.IntN(2)), byte(rnd.IntN(4))})
		}
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: byte(rnd.IntN(2)), 15: byte(rnd.IntN(4))})
	}
	some := func(n int, add func()) {
		if rnd.IntN(2) == 0 {
			for range rnd.IntN(n + 1) {
				add()
			}
		}
	}
	found := 0
	for range 200 {
		cfg := &Config{Outbounds: []Outbound{{Name: "x", Dialer: new(way)}}}
		for range rnd.IntN(20) {
			r := Rule{Outbound: "x"}
			prefix := func() netip.Prefix {
				a := addr()
				return netip.PrefixFrom(a, rnd.IntN(a.BitLen()+1))
			}
			some(3, func() { r.Destinations = append(r.Destinations, prefix()) })
			some(3, func() { r.Sources = append(r.Sources, prefix()) })
			some(3, func() {
				r.Domains = append(r.Domains, []string{"", ".", "*."}[rnd.IntN(3)]+name())
			})
			some(2, func() {
				first := uint16(1 + rnd.IntN(3))
				r.Ports = append(r.Ports, PortRange{first, first + uint16(rnd.IntN(2))})
			})
			some(2, func() { r.Networks = append(r.Networks, []string{"tcp", "udp", "icmp"}[rnd.IntN(3)]) })
			cfg.Rules = append(cfg.Rules, r)
		}
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			f := outbound.Flow{
				Network: []string{"tcp", "udp", "icmp"}[rnd.IntN(3)],
				Source:  netip.AddrPortFrom(addr(), 1), Destination: netip.AddrPortFrom(addr(), uint16(1+rnd.IntN(4))),
			}
			if rnd.IntN(2) == 0 {
				f.Name = name()
			}
			want := slow(cfg, f)
			if got, _ := r.Find(f); got != want {
				t.Fatalf("%+v: rule %d, want %d of %+v", f, got, want, cfg.Rules)
			}
			if want > 0 {
				found++
			}
		}
	}
	if found < 1000 {
		t.Errorf("%d of 40000 flows matched a rule that is not the first: the test tests nothing", found)
	}
}

// TestNames: where a name comes from, and what a fake address without one comes to.
func TestNames(t *testing.T) {
	a, b := new(way), new(way)
	asked := 0
	r, err := New(&Config{
		Outbounds: []Outbound{{Name: "a", Dialer: a}, {Name: "b", Dialer: b}},
		Rules:     []Rule{{Domains: []string{"told.example", "fake.example", "seen.example"}, Outbound: "a"}},
		Default:   "b",
		Names: namesFunc(func(src, dst netip.Addr) (string, bool, bool) {
			asked++
			if src != netip.MustParseAddr("192.0.2.9") {
				t.Errorf("asked for %v", src)
			}
			switch dst.String() {
			case "198.18.0.1":
				return "Fake.example", true, true
			case "198.18.0.2":
				return "", true, false
			case "203.0.113.1":
				return "told.example", false, true
			}
			return "", false, false
		}),
		SniffPorts: []PortRange{Port(443)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		dst, seen string
		want      outbound.Dialer
		host      string
		sniff     bool
	}{
		{"198.18.0.1:443", "", a, "fake.example", false},
		{"198.18.0.1:443", "other.example", a, "fake.example", false},
		{"198.18.0.2:443", "seen.example", nil, "", false},
		{"203.0.113.1:443", "other.example", a, "", false},
		{"203.0.113.2:443", "seen.example", a, "", true},
		{"203.0.113.2:443", "", b, "", true},
		{"203.0.113.2:80", "", b, "", false},
	} {
		for _, network := range []string{"tcp", "icmp"} {
			f := flow(network, tc.dst, tc.seen)
			target, err := r.Route(t.Context(), f)
			if target.Dialer != tc.want || target.Host != tc.host || (err != nil) != (tc.want == nil) {
				t.Errorf("%v: %+v, %v", f, target, err)
			}
			if err != nil && (!errors.Is(err, Unnamed) || !errors.Is(err, syscall.ECONNREFUSED)) {
				t.Errorf("%v: %v", f, err)
			}
			if got := r.Sniff(f); got != (tc.sniff && network == "tcp") {
				t.Errorf("%v: sniff %v", f, got)
			}
		}
	}
	s := r.Stats()
	if s.Unnamed != 2 || s.Outbounds["a"] != 8 || s.Outbounds["b"] != 4 || s.Rules[0] != 8 || s.Unmatched != 4 {
		t.Errorf("%+v", s)
	}
	if asked == 0 {
		t.Error("nobody was asked")
	}
}

// TestUnable: what an outbound does not carry is refused, and not left to the Server.
func TestUnable(t *testing.T) {
	l := new(listener)
	r, err := New(&Config{
		Outbounds: []Outbound{
			{Name: "streams", Dialer: new(way)}, {Name: "both", Dialer: l, Optimistic: true},
			{Name: "packets", PacketListener: l}, {Name: "handler", Handler: new(handler), Trusted: true},
		},
		Rules: []Rule{
			{Ports: []PortRange{Port(1)}, Outbound: "streams"}, {Ports: []PortRange{Port(2)}, Outbound: "both"},
			{Ports: []PortRange{Port(3)}, Outbound: "packets"}, {Ports: []PortRange{Port(4)}, Outbound: "handler"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		port     int
		network  string
		want     error
		listener bool
	}{
		{1, "tcp", nil, false}, {1, "udp", ErrUnable, false},
		{2, "tcp", nil, true}, {2, "udp", nil, true},
		{3, "tcp", ErrUnable, false}, {3, "udp", nil, true}, {3, "icmp", ErrUnable, false},
		{4, "tcp", ErrUnable, false}, {4, "udp", nil, false},
		{5, "tcp", ErrNoRule, false}, {5, "udp", ErrNoRule, false},
	} {
		target, err := r.Route(t.Context(), flow(tc.network, fmt.Sprintf("203.0.113.1:%d", tc.port), ""))
		if !errors.Is(err, tc.want) || err == nil && tc.want != nil {
			t.Errorf("%s to port %d: %v, want %v", tc.network, tc.port, err, tc.want)
		}
		if (target.PacketListener != nil) != tc.listener || target.Optimistic != (tc.port == 2 && err == nil) || target.Trusted != (tc.port == 4 && err == nil) {
			t.Errorf("%s to port %d: %+v", tc.network, tc.port, target)
		}
		if err != nil && (!errors.Is(err, stack.Policy) || !errors.Is(err, syscall.EACCES)) {
			t.Errorf("%v is not told as prohibited", err)
		}
	}
}

// TestReload: flows go by the new rules at once, and by the old ones if the new are wrong.
func TestReload(t *testing.T) {
	r, err := New(&Config{Outbounds: []Outbound{{Name: "a", Dialer: new(way)}}, Default: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, name := r.Find(flow("tcp", "203.0.113.1:1", "")); name != "a" && name != "b" {
					t.Errorf("by %q", name)
				}
				_, _ = r.Route(context.Background(), flow("tcp", "203.0.113.1:1", ""))
			}
		})
	}
	for i := range 100 {
		name := []string{"b", "a"}[i%2]
		if err := r.Reload(&Config{Outbounds: []Outbound{{Name: name, Dialer: new(way)}}, Default: name}); err != nil {
			t.Error(err)
		}
		if err := r.Reload(&Config{Default: "c"}); err == nil {
			t.Error("a wrong Config was taken")
		}
		if _, got := r.Find(flow("tcp", "203.0.113.1:1", "")); got != name {
			t.Errorf("by %q, want %q", got, name)
		}
	}
	close(stop)
	all.Wait()
	if err := r.Reload(nil); err != nil {
		t.Error(err)
	}
	if _, err := r.Route(t.Context(), flow("tcp", "203.0.113.1:1", "")); !errors.Is(err, ErrNoRule) {
		t.Errorf("%v, want no rule", err)
	}
}

// TestHostsOwn: a Failover that has chosen a dialer of the host's gives that, which the
// Server knows; of a proxy it gives itself, to be able to try the next.
func TestHostsOwn(t *testing.T) {
	check := func(context.Context) error { return nil }
	for _, tc := range []struct {
		d    outbound.Dialer
		self bool
	}{{new(direct.Dialer), false}, {new(net.Dialer), false}, {new(listener), true}} {
		f, err := NewFailover(&FailoverConfig{Outbounds: []Outbound{{Name: "x", Dialer: tc.d, Check: check}}})
		if err != nil {
			t.Fatal(err)
		}
		outer, err := NewFailover(&FailoverConfig{Outbounds: []Outbound{{Name: "f", Dialer: f, Check: check}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(&Config{Outbounds: []Outbound{{Name: "f", Dialer: outer}}, Default: "f"})
		if err != nil {
			t.Fatal(err)
		}
		target, err := r.Route(t.Context(), flow("tcp", "203.0.113.1:1", ""))
		if want := map[bool]outbound.Dialer{false: tc.d, true: f}[tc.self]; target.Dialer != want || err != nil {
			t.Errorf("%T: %T, %v", tc.d, target.Dialer, err)
		}
		_, _ = outer.Close(), f.Close()
	}
}

// TestHostsOwnApart: a Failover for streams alone does not lead datagrams the way that it
// has chosen, and what an Outbound says of its destinations holds whatever is chosen.
func TestHostsOwnApart(t *testing.T) {
	own := new(direct.Dialer)
	f, err := NewFailover(&FailoverConfig{Outbounds: []Outbound{
		{Name: "x", Dialer: own, Trusted: true, Check: func(context.Context) error { return nil }},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, h := new(listener), new(handler)
	for _, tc := range []struct {
		o    Outbound
		want forward.Target // of datagrams
	}{
		{Outbound{PacketListener: l}, forward.Target{Dialer: f, PacketListener: l}},
		{Outbound{Handler: h}, forward.Target{Dialer: f, PacketListener: f, Handler: h}},
		{Outbound{Optimistic: true}, forward.Target{Dialer: own, PacketListener: own, Optimistic: true}},
		{Outbound{Trusted: true}, forward.Target{Dialer: own, PacketListener: own, Trusted: true}},
	} {
		tc.o.Name, tc.o.Dialer = "f", f
		r, err := New(&Config{Outbounds: []Outbound{tc.o}, Default: "f"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Route(t.Context(), flow("udp", "203.0.113.1:1", "")); got != tc.want || err != nil {
			t.Errorf("%+v: %+v, %v", tc.o, got, err)
		}
		if got, err := r.Route(t.Context(), flow("tcp", "203.0.113.1:1", "")); got.Dialer != outbound.Dialer(own) || got.Trusted != tc.o.Trusted || err != nil {
			t.Errorf("%+v: %+v, %v", tc.o, got, err)
		}
	}
}

// TestAllocations: a flow costs none.
func TestAllocations(t *testing.T) {
	r := big(t)
	f := flow("tcp", "203.0.113.1:443", "www.example1234.com")
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Route(t.Context(), f) }); n != 0 {
		t.Errorf("%v allocations for a flow, want none", n)
	}
}

// big is a Router with ten thousand rules.
func big(t testing.TB) *Router {
	cfg := &Config{Outbounds: []Outbound{{Name: "a", Dialer: new(way)}, {Name: "b", Dialer: new(way)}}, Default: "a"}
	for i := range 5000 {
		cfg.Rules = append(cfg.Rules,
			Rule{Domains: []string{fmt.Sprintf(".example%d.com", i)}, Outbound: "b"},
			Rule{Destinations: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 16+i%17)}, Outbound: "b"})
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func BenchmarkRoute(b *testing.B) {
	r := big(b)
	for _, name := range []string{"", "www.example4999.com"} {
		b.Run("name="+name, func(b *testing.B) {
			f := flow("tcp", "203.0.113.1:443", name)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Route(context.Background(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

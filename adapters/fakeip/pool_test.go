package fakeip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	alice = netip.MustParseAddr("10.0.0.1")
	bob   = netip.MustParseAddr("10.0.0.2")
)

func mustNew(t testing.TB, cfg *Config) *Pool {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// assign returns the IPv4 address for name.
func assign(t testing.TB, p *Pool, src netip.Addr, name string) netip.Addr {
	t.Helper()
	a, _, err := p.Assign(src, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

// small is a pool of three names.
func small(hold time.Duration) *Config {
	return &Config{V4: netip.MustParsePrefix("198.18.0.0/28"), Size: 3, Hold: hold}
}

func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		says string
	}{
		{Config{V4: netip.MustParsePrefix("198.18.0.0/30")}, "V4"},
		{Config{V4: netip.MustParsePrefix("0.0.0.0/0")}, "V4"},
		{Config{V4: netip.MustParsePrefix("fd00::/64")}, "V4"},
		{Config{V6: netip.MustParsePrefix("10.0.0.0/8")}, "V6"},
		{Config{V6: netip.MustParsePrefix("fd00::/126")}, "V6"},
		{Config{Size: -1}, "Size"},
		{Config{Size: 65537}, "Size"},
		{Config{V4: netip.MustParsePrefix("10.0.0.0/29"), Reserved: []netip.Addr{
			netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4"),
		}}, "Reserved"},
	} {
		if p, err := New(&tc.cfg); err == nil || p != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: %v", tc.cfg, err)
		}
	}
}

func TestAssign(t *testing.T) {
	p := mustNew(t, nil)
	v4, v6, err := p.Assign(alice, "WWW.Example.com.")
	if err != nil {
		t.Fatal(err)
	}
	if !defaultV4.Contains(v4) || !defaultV6.Contains(v6) {
		t.Errorf("got %v and %v", v4, v6)
	}
	for _, a := range []netip.Addr{v4, v6, netip.AddrFrom16(v4.As16()), v6.WithZone("eth0")} {
		if name, ok := p.Name(a); !ok || name != "www.example.com" {
			t.Errorf("%v is %q, %v", a, name, ok)
		}
	}
	if a := assign(t, p, bob, "www.example.com"); a != v4 {
		t.Errorf("the second time %v, the first %v", a, v4)
	}
	if a := assign(t, p, alice, "other.example"); a == v4 {
		t.Error("two names have one address")
	}
	for _, bad := range []string{"", ".", "a b", "a\nb", strings.Repeat("x", 254), "a\\046b", "é"} {
		if _, _, err := p.Assign(alice, bad); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s := p.Stats()
	if s.Names != 2 || s.Assigned != 2 || s.Forgotten != 0 {
		t.Errorf("%+v", s)
	}
}

func TestContains(t *testing.T) {
	p := mustNew(t, nil)
	for a, want := range map[string]bool{
		"198.18.0.0": false, "198.18.0.1": true, "198.19.255.254": true, "198.19.255.255": false,
		"198.20.0.0": false, "fd6c:3366:616b:6500::": false, "fd6c:3366:616b:6500::1": true,
		"fd6c:3366:616b:6500::1:fffe": true, "fd6c:3366:616b:6500::2:0": false, "::1": false, "fd6c:3366:616b:6501::1": false,
	} {
		if got := p.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if p.Contains(netip.Addr{}) {
		t.Error("no address is one of the pool")
	}
	if name, ok := p.Name(netip.MustParseAddr("198.18.0.1")); ok || p.Stats().Unknown != 1 {
		t.Errorf("an address without a name is %q", name)
	}
}

// TestPlaces: addresses and places are each other's inverse.
func TestPlaces(t *testing.T) {
	p := mustNew(t, &Config{V4: netip.MustParsePrefix("10.1.2.128/25"), V6: netip.MustParsePrefix("fd00::ff00/121")})
	for place := uint32(1); place <= p.span; place++ {
		v4, v6 := p.addrs(place)
		got4, ok4 := p.place(v4)
		got6, ok6 := p.place(v6)
		if !ok4 || !ok6 || got4 != place || got6 != place {
			t.Fatalf("place %d: %v is %d, %v is %d", place, v4, got4, v6, got6)
		}
	}
}

func TestReserved(t *testing.T) {
	r4, r6 := netip.MustParseAddr("198.18.0.3"), netip.MustParseAddr("fd6c:3366:616b:6500::4")
	cfg := small(-1)
	cfg.Reserved = []netip.Addr{r4, r6, alice}
	p := mustNew(t, cfg)
	for i := range 50 {
		v4, v6, err := p.Assign(alice, fmt.Sprint("host", i))
		if err != nil || v4 == r4 || v6 == r6 {
			t.Fatal(v4, v6, err)
		}
	}
}

func TestForgetsWhatWasUsedLeastRecently(t *testing.T) {
	p := mustNew(t, small(-1))
	a, b, c := assign(t, p, alice, "a"), assign(t, p, alice, "b"), assign(t, p, alice, "c")
	p.Name(a)
	assign(t, p, alice, "c")
	d := assign(t, p, bob, "d") // b goes
	if _, ok := p.Name(b); ok {
		t.Error("b is still there")
	}
	if d == b {
		t.Error("the address of a forgotten name was given out at once")
	}
	for addr, want := range map[netip.Addr]string{a: "a", c: "c", d: "d"} {
		if name, ok := p.Name(addr); !ok || name != want {
			t.Errorf("%v is %q, want %s", addr, name, want)
		}
	}
	if s := p.Stats(); s.Names != 3 || s.Forgotten != 1 || s.Assigned != 4 {
		t.Errorf("%+v", s)
	}
}

// TestNobodyIsLeftOut: a client that keeps as many names in use as it can leaves room.
func TestNobodyIsLeftOut(t *testing.T) {
	const size = 160
	p := mustNew(t, &Config{Size: size})
	take := func(src netip.Addr) (n int) {
		for ; n < 2*size; n++ {
			if _, _, err := p.Assign(src, fmt.Sprintf("h%d-%v.example", n, src)); errors.Is(err, ErrExhausted) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := take(alice); n != size*7/8 {
		t.Errorf("one got %d", n)
	}
	if n := take(bob); n != size/8 {
		t.Errorf("the other got %d", n)
	}
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustNew(t, small(time.Minute))
		a := assign(t, p, alice, "a")
		assign(t, p, alice, "b")
		assign(t, p, alice, "c")
		time.Sleep(59 * time.Second)
		if _, _, err := p.Assign(bob, "d"); !errors.Is(err, ErrExhausted) {
			t.Fatalf("a name used 59 s ago was forgotten: %v", err)
		}
		if len(p.owners) != 1 {
			t.Error("who got nothing is remembered")
		}
		p.Name(a)
		time.Sleep(time.Second)
		assign(t, p, bob, "d")
		if _, ok := p.Name(a); !ok {
			t.Error("the name used last was forgotten")
		}
		if s := p.Stats(); s.Exhausted != 1 || s.Forgotten != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPin(t *testing.T) {
	p := mustNew(t, small(-1))
	a := assign(t, p, alice, "a")
	for range 2 {
		if !p.Pin(a) {
			t.Fatal("not pinned")
		}
	}
	for i := range 20 {
		assign(t, p, alice, fmt.Sprint("host", i))
	}
	if name, ok := p.Name(a); !ok || name != "a" {
		t.Fatalf("a pinned address is %q", name)
	}
	p.Unpin(a)
	if s := p.Stats(); s.Pinned != 1 {
		t.Errorf("unpinned once of twice: %+v", s)
	}
	p.Unpin(a)
	p.Unpin(a) // once too often
	for i := range 3 {
		assign(t, p, alice, fmt.Sprint("more", i))
	}
	if _, ok := p.Name(a); ok || p.Stats().Pinned != 0 {
		t.Error("kept although nothing holds it")
	}
	if p.Pin(a) || p.Pin(alice) {
		t.Error("pinned what has no name")
	}
	p.Unpin(alice)

	all := mustNew(t, small(-1))
	for _, name := range []string{"a", "b", "c"} {
		all.Pin(assign(t, all, alice, name))
	}
	if _, _, err := all.Assign(alice, "d"); !errors.Is(err, ErrExhausted) {
		t.Errorf("all are pinned, and d: %v", err)
	}
}

// TestInventorOfNames: who asks for ever new names loses its own, not the others'.
func TestInventorOfNames(t *testing.T) {
	p := mustNew(t, &Config{V4: netip.MustParsePrefix("198.18.0.0/20"), Size: 800, Hold: -1})
	mine := assign(t, p, bob, "bob.example")
	for i := range 5000 {
		assign(t, p, alice, fmt.Sprintf("%d.example", i))
	}
	if name, ok := p.Name(mine); !ok || name != "bob.example" {
		t.Errorf("bob's address is %q", name)
	}
	if s := p.Stats(); s.Names != 700 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkAssign(b *testing.B) {
	p := mustNew(b, &Config{Hold: -1})
	names := make([]string, 1<<17)
	for i := range names {
		names[i] = fmt.Sprintf("host-%d.example.com", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, err := p.Assign(alice, names[i%len(names)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"l3extract/adapters/fakeip"
)

// addrOf asks for an address.
func addrOf(t *testing.T, s *Server, src netip.AddrPort, name string, qtype uint16) netip.Addr {
	t.Helper()
	a := ask(t, s, src, question(name, qtype))
	if len(a.Answer) != 1 {
		t.Fatalf("%s: got\n%v", name, a)
	}
	if a.Answer[0].Header().Ttl != 10 {
		t.Errorf("TTL of a fake address: %v", a.Answer[0])
	}
	return netip.MustParseAddr(strings.Fields(answers(a)[0])[1])
}

func TestFake(t *testing.T) {
	up := zone("real.example. 60 IN A 192.0.2.1", "real.example. 60 IN AAAA 2001:db8::1")
	pool := newPool(t, nil)
	var told []string
	s := newServer(t, &Config{Upstream: up, Fake: pool, OnAnswer: func(a Answer) {
		told = append(told, fmt.Sprintf("%s %v %s %s %s %d", a.Network, a.Source, a.Name, a.Type, a.Rcode, len(a.Addrs)))
	}, Rules: []Rule{
		{Domains: []string{"real.example"}}, {Domains: []string{"fake.real.example"}, Fake: true},
	}})
	v4, v6 := addrOf(t, s, alice, "www.example", dns.TypeA), addrOf(t, s, bob, "WWW.example.", dns.TypeAAAA)
	for _, a := range []netip.Addr{v4, v6, netip.AddrFrom16(v4.As16())} {
		if name, fake, ok := s.NameOf(bob.Addr(), a); name != "www.example" || !fake || !ok {
			t.Errorf("%v is %q %v %v", a, name, fake, ok)
		}
	}
	if want := []string{"udp 10.0.0.1 www.example A NOERROR 1", "udp 10.0.0.2 www.example AAAA NOERROR 1"}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
	addrOf(t, s, alice, "fake.real.example", dns.TypeA)
	if up.times() != 0 {
		t.Errorf("asked %v", up.asked)
	}
	// Exempt: the real one, and its name is known for who was told.
	if a := ask(t, s, alice, question("Real.example", dns.TypeA)); !slices.Equal(answers(a), []string{"A 192.0.2.1"}) {
		t.Errorf("got\n%v", a)
	}
	if name, fake, ok := s.NameOf(alice.Addr(), netip.MustParseAddr("192.0.2.1")); name != "real.example" || fake || !ok {
		t.Errorf("%q %v %v", name, fake, ok)
	}
	if name, _, ok := s.NameOf(bob.Addr(), netip.MustParseAddr("192.0.2.1")); ok {
		t.Errorf("bob was not told of %q", name)
	}
	// A fake address that stands for nothing.
	last, _ := pool.Prefixes()
	none := last.Addr().Next()
	for none == v4 || pool.Pin(none) {
		none = none.Next()
	}
	if name, fake, ok := s.NameOf(alice.Addr(), none); name != "" || !fake || ok {
		t.Errorf("%q %v %v", name, fake, ok)
	}
	for _, name := range []string{`a\046b.example`, "."} {
		if a := ask(t, s, alice, question(name, dns.TypeA)); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 {
			t.Errorf("%s: got\n%v", name, a)
		}
	}
	if a := ask(t, s, alice, question("use-application-dns.net", dns.TypeA)); a.Rcode != dns.RcodeNameError {
		t.Errorf("got\n%v", a)
	}
}

func TestFakeReverse(t *testing.T) {
	up := zone("1.2.0.192.in-addr.arpa. 60 IN PTR real.example.")
	nameless := netip.MustParseAddr("198.18.0.1")
	s := newServer(t, &Config{Upstream: up, Fake: newPool(t, &fakeip.Config{Reserved: []netip.Addr{nameless}})})
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		arpa, err := dns.ReverseAddr(addrOf(t, s, alice, "www.example", qtype).String())
		if err != nil {
			t.Fatal(err)
		}
		if a := ask(t, s, alice, question(arpa, dns.TypePTR)); !slices.Equal(answers(a), []string{"PTR www.example."}) {
			t.Errorf("got\n%v", a)
		}
		if a := ask(t, s, alice, question(arpa, dns.TypeTXT)); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 {
			t.Errorf("got\n%v", a)
		}
	}
	for name, rcode := range map[string]int{"1.0.18.198.in-addr.arpa": dns.RcodeNameError, "255.255.19.198.in-addr.arpa": dns.RcodeNameError} {
		before := up.times()
		a := ask(t, s, alice, question(name, dns.TypePTR))
		if own := name[0] == '1'; a.Rcode != rcode || own == (up.times() > before) {
			t.Errorf("%s: got\n%v", name, a)
		}
	}
	if a := ask(t, s, alice, question("1.2.0.192.in-addr.arpa", dns.TypePTR)); !slices.Equal(answers(a), []string{"PTR real.example."}) {
		t.Errorf("got\n%v", a)
	}
}

func TestReversed(t *testing.T) {
	for name, want := range map[string]string{
		"4.3.2.1.in-addr.arpa.": "1.2.3.4", "3.2.1.in-addr.arpa.": "", "x.3.2.1.in-addr.arpa.": "", "5.4.3.2.1.in-addr.arpa.": "",
		"in-addr.arpa.": "", "256.3.2.1.in-addr.arpa.": "",
		"b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.":  "2001:db8::567:89ab",
		"b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.ip6.arpa.":    "",
		"b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.00.ip6.arpa.":   "",
		"g.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.":  "",
		"x.b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.2.ip6.arpa.":  "",
		"0..a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.": "",
	} {
		a, ok := reversed(name)
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%s: %v %v, want %q", name, a, ok, want)
		}
	}
}

// TestNothingRealBesideFakes: what upstreams say beside the answer, and hints, would let
// clients connect to where they must not.
func TestNothingRealBesideFakes(t *testing.T) {
	https := "www.example. 60 IN HTTPS 1 . mandatory=alpn,ipv4hint alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"
	only := "only.example. 60 IN SVCB 1 . mandatory=ipv4hint ipv4hint=192.0.2.1"
	up := &wireStub{func(b []byte) ([]byte, error) {
		var q dns.Msg
		if err := q.Unpack(b); err != nil {
			return nil, err
		}
		m := inZone(&q, []string{https, only, "www.example. 60 IN MX 10 mail.example.", "www.example. 60 IN TXT hello"})
		m.Extra = append(m.Extra, zone1("mail.example. 60 IN A 192.0.2.25", "mail.example. 60 IN AAAA 2001:db8::25", "mail.example. 60 IN TXT kept")...)
		m.Answer = append(m.Answer, zone1("more.example. 60 IN A 192.0.2.26")...)
		return m.Pack()
	}}
	for _, tc := range []struct {
		name string
		cfg  Config
		want map[uint16]string // the answer
		more int               // records in the additional section
	}{
		{"fake", Config{Fake: newPool(t, nil)}, map[uint16]string{
			dns.TypeHTTPS: `HTTPS 1 . mandatory="alpn" alpn="h2"`, dns.TypeMX: "MX 10 mail.example.", dns.TypeTXT: `TXT "hello"`}, 1},
		{"no IPv6", Config{NoIPv6: true}, map[uint16]string{
			dns.TypeHTTPS: `HTTPS 1 . mandatory="alpn,ipv4hint" alpn="h2" ipv4hint="192.0.2.1"|A 192.0.2.26`, dns.TypeAAAA: ""}, 2},
		{"all", Config{}, map[uint16]string{
			dns.TypeHTTPS: `HTTPS 1 . mandatory="alpn,ipv4hint" alpn="h2" ipv4hint="192.0.2.1" ipv6hint="2001:db8::1"|A 192.0.2.26`}, 3},
	} {
		tc.cfg.Upstream = up
		s := newServer(t, &tc.cfg)
		for qtype, want := range tc.want {
			m := question("www.example", qtype)
			m.SetEdns0(1232, false)
			a := ask(t, s, alice, m)
			if got := strings.Join(answers(a), "|"); got != want || want != "" && len(a.Extra) != tc.more+1 {
				t.Errorf("%s: got\n%v\n%s\n%s", tc.name, a, got, want)
			}
		}
	}
	s := newServer(t, &Config{Upstream: up, Fake: newPool(t, nil)})
	if a := ask(t, s, alice, question("only.example", dns.TypeSVCB)); strings.Join(answers(a), "|") != "SVCB 1 ." {
		t.Errorf("got\n%v", a)
	}
}

// TestFakeAlone: without an upstream nobody is asked anything.
func TestFakeAlone(t *testing.T) {
	s := newServer(t, &Config{Fake: newPool(t, nil)})
	addrOf(t, s, alice, "www.example", dns.TypeA)
	for _, qtype := range []uint16{dns.TypeHTTPS, dns.TypeMX, dns.TypeTXT} {
		if a := ask(t, s, alice, question("www.example", qtype)); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 {
			t.Errorf("got\n%v", a)
		}
	}
	no6 := newServer(t, &Config{Fake: newPool(t, nil), NoIPv6: true})
	if a := ask(t, no6, alice, question("www.example", dns.TypeAAAA)); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 {
		t.Errorf("got\n%v", a)
	}
}

func TestFakesExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &Config{Fake: newPool(t, &fakeip.Config{Size: 3})})
		for i := range 3 {
			addrOf(t, s, alice, fmt.Sprintf("h%d", i), dns.TypeA)
		}
		if a := ask(t, s, alice, question("more", dns.TypeA)); a.Rcode != dns.RcodeServerFailure || s.Stats().Exhausted != 1 {
			t.Errorf("got\n%v\n%+v", a, s.Stats())
		}
		time.Sleep(fakeip.DefaultHold)
		addrOf(t, s, alice, "more", dns.TypeA)
	})
}

func TestNamesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &Config{Upstream: zone("www.example. 60 IN CNAME cdn.example.", "www.example. 60 IN A 192.0.2.1", "alias.example. 60 IN A 192.0.2.1")})
		a := netip.MustParseAddr("192.0.2.1")
		known := func() string { name, _, _ := s.NameOf(alice.Addr(), a); return name }
		ask(t, s, alice, question("www.example", dns.TypeA))
		if known() != "www.example" {
			t.Errorf("%q", known())
		}
		ask(t, s, alice, question("alias.example", dns.TypeA))
		if known() != "alias.example" {
			t.Errorf("%q, and the last was alias.example", known())
		}
		time.Sleep(DefaultNameGrace + 59*time.Second)
		if known() != "alias.example" {
			t.Error("forgotten too soon")
		}
		time.Sleep(time.Second)
		if known() != "" || s.Stats().Names != 0 {
			t.Error("known after its time")
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	n := newNames(10, 4)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	now := time.Now()
	until := now.Add(time.Hour)
	for i := range 20 {
		n.put(alice.Addr(), "a", []netip.Addr{addr(i)}, until)
	}
	if _, ok := n.get(alice.Addr(), addr(15), now); ok || n.size() != 4 {
		t.Errorf("%d", n.size())
	}
	for i := range 30 {
		n.put(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), "b", []netip.Addr{addr(1), addr(2)}, until)
	}
	if n.size() != 10 || len(n.sources) != 5 {
		t.Errorf("%d of %d", n.size(), len(n.sources))
	}
	off := newNames(-1, 0)
	off.put(alice.Addr(), "a", []netip.Addr{addr(1)}, until)
	if _, ok := off.get(alice.Addr(), addr(1), now); ok || off.size() != 0 {
		t.Error("remembered although that is off")
	}
}

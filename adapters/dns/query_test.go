package dns

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"l3extract/adapters/fakeip"
	"l3extract/adapters/outbound"
)

func TestNewRefuses(t *testing.T) {
	up := zone()
	for _, tc := range []struct {
		cfg  Config
		says string
	}{
		{Config{MaxUDPSize: 511}, "MaxUDPSize"},
		{Config{MaxUDPSize: 65536}, "MaxUDPSize"},
		{Config{FakeTTL: 1}, "FakeTTL"},
		{Config{FakeTTL: fakeip.DefaultHold, Fake: newPool(t, nil)}, "FakeTTL"},
		{Config{MaxTTL: -1}, "MaxTTL"},
		{Config{MaxNegativeTTL: -1}, "MaxNegativeTTL"},
		{Config{Stale: -1}, "Stale"},
		{Config{NameGrace: -1}, "NameGrace"},
		{Config{Rules: []Rule{{Domains: []string{"a"}}}}, "Upstream"},
		{Config{Upstream: up, Rules: []Rule{{}}}, "Domains"},
		{Config{Upstream: up, Rules: []Rule{{Domains: []string{""}}}}, "not a domain"},
		{Config{Upstream: up, Rules: []Rule{{Domains: []string{strings.Repeat("a", 64)}}}}, "not a domain"},
		{Config{Upstream: up, Rules: []Rule{{Domains: []string{"a"}}, {Domains: []string{"*.A."}}}}, "already"},
	} {
		if s, err := New(&tc.cfg); err == nil || s != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("want %q: %v", tc.says, err)
		}
	}
}

// TestOddQueries: what is not a query for data of the internet never reaches an upstream.
func TestOddQueries(t *testing.T) {
	edit := func(f func(*dns.Msg)) func() []byte {
		return func() []byte {
			m := question("www.example", dns.TypeA)
			m.Id = 0x1234
			f(m)
			return packed(t, m)
		}
	}
	raw := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	const none = -1
	for _, tc := range []struct {
		name  string
		query func() []byte
		rcode int
	}{
		{"nothing", raw(""), none},
		{"half a header", raw("\x12\x34\x01\x00\x00\x01"), none},
		{"a response", edit(func(m *dns.Msg) { m.Response = true }), none},
		{"notify", edit(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"update", edit(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"no question", edit(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions", edit(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"an answer in it", edit(func(m *dns.Msg) { m.Answer = zone1("a. A 1.2.3.4") }), dns.RcodeFormatError},
		{"a name cut off", raw("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05ab"), dns.RcodeFormatError},
		{"a name that points to itself", raw("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"), dns.RcodeFormatError},
		{"two OPT", edit(func(m *dns.Msg) { m.SetEdns0(1232, false); m.SetEdns0(1232, false) }), dns.RcodeFormatError},
		{"EDNS 1", edit(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		{"chaos", edit(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"any class", edit(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), dns.RcodeRefused},
		{"zone transfer", edit(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		{"OPT as a type", edit(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }), dns.RcodeRefused},
		{"too long", func() []byte {
			m := question("www.example", dns.TypeA)
			m.Id = 0x1234
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, maxQuery)})
			return packed(t, m)
		}, dns.RcodeFormatError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := zone("www.example. 60 IN A 192.0.2.1")
			s := newServer(t, &Config{Upstream: up})
			var got [][]byte
			p := tc.query()
			s.HandlePacket(outbound.Flow{Source: alice, Destination: server}, p, func(p []byte) { got = append(got, bytes.Clone(p)) })
			if st := s.Stats(); st.Malformed+st.Refused != 1 || st.Datagrams != 1 {
				t.Errorf("%+v", st)
			}
			if up.times() != 0 {
				t.Error("the upstream was asked")
			}
			if tc.rcode == none {
				if len(got) != 0 {
					t.Errorf("answered %x", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("%d answers", len(got))
			}
			var m dns.Msg
			if err := m.Unpack(got[0]); err != nil {
				t.Fatal(err)
			}
			if m.Rcode != tc.rcode || m.Id != 0x1234 || !m.Response {
				t.Errorf("got %v", &m)
			}
		})
	}
}

func zone1(texts ...string) (rrs []dns.RR) {
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

// TestNothingOfTheClientsGoesOn: cookies, a client subnet and the id stay here.
func TestNothingOfTheClientsGoesOn(t *testing.T) {
	var sent []byte
	up := &wireStub{func(q []byte) ([]byte, error) {
		sent = bytes.Clone(q)
		var m dns.Msg
		if err := m.Unpack(q); err != nil {
			return nil, err
		}
		return inZone(&m, []string{"www.example. 60 IN A 192.0.2.1"}).Pack()
	}}
	s := newServer(t, &Config{Upstream: up})
	m := question("WWW.eXample", dns.TypeA)
	m.CheckingDisabled = true
	m.SetEdns0(4096, true)
	m.IsEdns0().Option = append(m.IsEdns0().Option,
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: alice.Addr().AsSlice()})
	a := ask(t, s, alice, m)
	if a.Question[0].Name != "WWW.eXample." || a.Answer[0].Header().Name != "WWW.eXample." {
		t.Errorf("the name is not the client's:\n%v", a)
	}
	if opt := a.IsEdns0(); opt == nil || len(opt.Option) != 0 || !opt.Do() || opt.UDPSize() != 1232 || !a.CheckingDisabled {
		t.Errorf("got\n%v", a)
	}
	var q dns.Msg
	if err := q.Unpack(sent); err != nil {
		t.Fatal(err)
	}
	opt := q.IsEdns0()
	if opt == nil || len(opt.Option) != 0 || !opt.Do() || !q.CheckingDisabled || q.Question[0].Name != "www.example." || !q.RecursionDesired {
		t.Errorf("sent\n%v", &q)
	}
}

// wireStub is an upstream that answers bytes.
type wireStub struct{ answer func([]byte) ([]byte, error) }

func TestSpecialNames(t *testing.T) {
	up := zone()
	s := newServer(t, &Config{Upstream: up})
	for _, tc := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []string
	}{
		{"localhost", dns.TypeA, dns.RcodeSuccess, []string{"A 127.0.0.1"}},
		{"x.LOCALHOST", dns.TypeAAAA, dns.RcodeSuccess, []string{"AAAA ::1"}},
		{"localhost", dns.TypeMX, dns.RcodeSuccess, nil},
		{"a.invalid", dns.TypeA, dns.RcodeNameError, nil},
		{"_dns.resolver.arpa", dns.TypeSVCB, dns.RcodeSuccess, nil},
		{"www.example", dns.TypeANY, dns.RcodeSuccess, []string{`HINFO "RFC8482" ""`}},
	} {
		a := ask(t, s, alice, question(tc.name, tc.qtype))
		if a.Rcode != tc.rcode || !slices.Equal(answers(a), tc.want) {
			t.Errorf("%s: got\n%v", tc.name, a)
		}
	}
	if up.times() != 0 {
		t.Errorf("the upstream was asked %v", up.asked)
	}
	ask(t, s, alice, question("notlocalhost", dns.TypeA))
	if up.times() != 1 {
		t.Error("notlocalhost is not below localhost")
	}
	refuses := newServer(t, nil)
	if a := ask(t, refuses, alice, question("www.example", dns.TypeA)); a.Rcode != dns.RcodeRefused {
		t.Errorf("without an upstream: %v", a)
	}
}

// FuzzHandlePacket: whatever comes, what is answered is a well-formed response with the
// query's id, within the client's size.
func FuzzHandlePacket(f *testing.F) {
	seed := question("www.example", dns.TypeA)
	f.Add(packed(f, seed))
	seed.SetEdns0(600, true)
	f.Add(packed(f, seed))
	f.Add([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03w.w\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"))
	pool := newPool(f, nil)
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := New(&Config{Fake: pool})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		n := 0
		s.HandlePacket(outbound.Flow{Source: alice, Destination: server}, p, func(a []byte) {
			n++
			var m dns.Msg
			if err := m.Unpack(a); err != nil {
				t.Fatalf("%v: %x", err, a)
			}
			if !m.Response || [2]byte(a) != [2]byte(p) || len(a) > DefaultMaxUDPSize {
				t.Fatalf("%v", &m)
			}
		})
		if n > 1 {
			t.Fatalf("%d answers", n)
		}
	})
}

// FuzzResponse: whatever an upstream says, clients get well-formed answers.
func FuzzResponse(f *testing.F) {
	q := question("www.example", dns.TypeHTTPS)
	for _, text := range []string{
		"www.example. 60 IN HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1", "www.example. 60 IN CNAME other.example.", "other.example. 1 IN A 1.2.3.4",
	} {
		f.Add(packed(f, inZone(q, []string{text}))[2:])
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		up := &wireStub{func(q []byte) ([]byte, error) { return append(bytes.Clone(q[:2]), response...), nil }}
		s, err := New(&Config{Upstream: up, Fake: newPool(t, nil), CacheEntries: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a := ask(t, s, alice, question("www.example", dns.TypeHTTPS))
		for _, rr := range slices.Concat(a.Answer, a.Extra) {
			if t1 := rr.Header().Rrtype; t1 == dns.TypeA || t1 == dns.TypeAAAA || rr.Header().Ttl > 86400 && t1 != dns.TypeOPT {
				t.Fatalf("%v", rr)
			}
		}
	})
}

package dns

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"l3extract/adapters/fakeip"
)

// own returns the answer to what no upstream is asked, or nil.
func (s *Server) own(q *query) *answer {
	if a := special(q); a != nil {
		return a
	}
	t := q.key.qtype
	if t == dns.TypeA && s.cfg.NoIPv4 || t == dns.TypeAAAA && s.cfg.NoIPv6 {
		return q.failure(dns.RcodeSuccess, infoNone)
	}
	if s.cfg.Fake == nil {
		return nil
	}
	switch {
	case q.key.name == canary:
		return q.failure(dns.RcodeNameError, infoNone)
	case below(q.key.name, "in-addr.arpa.") || below(q.key.name, "ip6.arpa."):
		return s.reverse(q)
	case q.route.fake && (t == dns.TypeA || t == dns.TypeAAAA):
		return s.fake(q)
	}
	return nil
}

// canary is the name that Firefox asks for to learn whether it should leave names to
// the network instead of to a DoH server of its own, which gives real addresses.
const canary = "use-application-dns.net."

// special answers names and types that nobody is to be asked.
func special(q *query) *answer {
	name, t := q.key.name, q.key.qtype
	switch {
	case t == dns.TypeANY: // RFC 8482
		return q.of(&dns.HINFO{Hdr: q.head(dns.TypeHINFO, DefaultMaxNegativeTTL), Cpu: "RFC8482"})
	case below(name, "localhost."): // RFC 6761, 6.3
		switch t {
		case dns.TypeA:
			return q.of(&dns.A{Hdr: q.head(t, DefaultMaxNegativeTTL), A: []byte{127, 0, 0, 1}})
		case dns.TypeAAAA:
			return q.of(&dns.AAAA{Hdr: q.head(t, DefaultMaxNegativeTTL), AAAA: netip.IPv6Loopback().AsSlice()})
		}
		return q.failure(dns.RcodeSuccess, infoNone)
	case below(name, "invalid."): // RFC 6761, 6.4
		return q.failure(dns.RcodeNameError, infoNone)
	case below(name, "resolver.arpa."): // RFC 9462, 4: nobody is designated to be asked in our place
		return q.failure(dns.RcodeSuccess, infoNone)
	}
	return nil
}

// below tells whether a canonical name is domain or below it.
func below(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// fake answers a question for addresses with one of the pool.
func (s *Server) fake(q *query) *answer {
	v4, v6, err := s.cfg.Fake.Assign(q.source, q.key.name)
	switch {
	case errors.Is(err, fakeip.ErrExhausted):
		s.stats.exhausted.Add(1)
		return q.failure(dns.RcodeServerFailure, infoNotReady)
	case err != nil: // not the name of a host: it has no address
		return q.failure(dns.RcodeSuccess, infoNone)
	}
	s.stats.faked.Add(1)
	var rr dns.RR
	if q.key.qtype == dns.TypeA {
		rr = &dns.A{Hdr: q.head(dns.TypeA, s.cfg.FakeTTL), A: v4.AsSlice()}
	} else {
		rr = &dns.AAAA{Hdr: q.head(dns.TypeAAAA, s.cfg.FakeTTL), AAAA: v6.AsSlice()}
	}
	return q.of(rr)
}

// reverse answers what there is below the name of a fake address, and returns nil for
// any other.
func (s *Server) reverse(q *query) *answer {
	addr, ok := reversed(q.key.name)
	if !ok || !s.cfg.Fake.Contains(addr) {
		return nil
	}
	name, ok := s.cfg.Fake.Name(addr)
	switch {
	case !ok:
		return q.failure(dns.RcodeNameError, infoNone)
	case q.key.qtype != dns.TypePTR:
		return q.failure(dns.RcodeSuccess, infoNone)
	}
	return q.of(&dns.PTR{Hdr: q.head(dns.TypePTR, s.cfg.FakeTTL), Ptr: dns.Fqdn(name)})
}

// reversed reads the address that stands in a canonical name below in-addr.arpa or
// ip6.arpa.
func reversed(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		if len(labels) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var b strings.Builder
	for i := len(rest) - 1; i >= 0; i -= 2 { // a digit and a dot, 32 times, the last digit first
		b.WriteByte(rest[i])
		if i > 0 && rest[i-1] != '.' {
			return netip.Addr{}, false
		}
		if i%8 == 0 && i > 0 {
			b.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}

// strip takes out of m the addresses that q's client must not see: all of them but the
// answer itself where names get fake ones, and those of a family that is off.
func (s *Server) strip(q *query, m *dns.Msg) {
	no4, no6 := s.cfg.NoIPv4 || q.route.fake, s.cfg.NoIPv6 || q.route.fake
	if !no4 && !no6 {
		return
	}
	m.Answer, m.Extra = withoutAddrs(m.Answer, no4, no6), withoutAddrs(m.Extra, no4, no6)
	for _, section := range [][]dns.RR{m.Answer, m.Extra} {
		for _, rr := range section {
			switch rr := rr.(type) {
			case *dns.HTTPS:
				rr.Value = withoutHints(rr.Value, no4, no6)
			case *dns.SVCB:
				rr.Value = withoutHints(rr.Value, no4, no6)
			}
		}
	}
}

func withoutAddrs(section []dns.RR, no4, no6 bool) []dns.RR {
	return slices.DeleteFunc(section, func(rr dns.RR) bool {
		t := rr.Header().Rrtype
		return t == dns.TypeA && no4 || t == dns.TypeAAAA && no6
	})
}

// withoutHints drops address hints, and their names from the list of what a client must
// understand (RFC 9460, 7.3 and 8).
func withoutHints(values []dns.SVCBKeyValue, no4, no6 bool) []dns.SVCBKeyValue {
	hint := func(k dns.SVCBKey) bool { return k == dns.SVCB_IPV4HINT && no4 || k == dns.SVCB_IPV6HINT && no6 }
	return slices.DeleteFunc(values, func(v dns.SVCBKeyValue) bool {
		if m, ok := v.(*dns.SVCBMandatory); ok {
			m.Code = slices.DeleteFunc(m.Code, hint)
			return len(m.Code) == 0
		}
		return hint(v.Key())
	})
}

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func (u *wireStub) Exchange(_ context.Context, q []byte) ([]byte, error) { return u.answer(q) }
func (u *wireStub) Close() error                                         { return nil }

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := zone("www.example. 60 IN A 192.0.2.1", "www.example. 300 IN A 192.0.2.2", "zero.example. 0 IN A 192.0.2.3",
			"long.example. 999999 IN A 192.0.2.4", "odd.example. 4294967295 IN A 192.0.2.5")
		s := newServer(t, &Config{Upstream: up})
		ttls := func(name string) (ttls []uint32, asked int) {
			before := up.times()
			a := ask(t, s, alice, question(name, dns.TypeA))
			for _, rr := range slices.Concat(a.Answer, a.Ns) {
				ttls = append(ttls, rr.Header().Ttl)
			}
			return ttls, up.times() - before
		}
		for _, tc := range []struct {
			after time.Duration
			name  string
			ttls  []uint32
			asked int
		}{
			{0, "www.example", []uint32{60, 300}, 1},
			{0, "WWW.example", []uint32{60, 300}, 0},
			{59 * time.Second, "www.example", []uint32{1, 241}, 0},
			{time.Second, "www.example", []uint32{60, 300}, 1},
			{0, "zero.example", []uint32{0}, 1},
			{0, "zero.example", []uint32{0}, 1},
			{0, "odd.example", []uint32{0}, 1},
			{0, "odd.example", []uint32{0}, 1},
			{0, "long.example", []uint32{86400}, 1},
			{time.Hour, "long.example", []uint32{82800}, 0},
			{0, "none.example", []uint32{60}, 1}, // the minimum of its SOA, below its TTL
			{20 * time.Second, "none.example", []uint32{40}, 0},
			{40 * time.Second, "none.example", []uint32{60}, 1},
		} {
			time.Sleep(tc.after)
			if ttls, asked := ttls(tc.name); !slices.Equal(ttls, tc.ttls) || asked != tc.asked {
				t.Errorf("%v later %s: TTLs %v, asked %d; want %v, %d", tc.after, tc.name, ttls, asked, tc.ttls, tc.asked)
			}
		}
		// No data is not the same as no name, and each type is a question of its own.
		if a := ask(t, s, alice, question("www.example", dns.TypeAAAA)); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 || len(a.Ns) != 1 {
			t.Errorf("got\n%v", a)
		}
		withDO := question("www.example", dns.TypeA)
		withDO.SetEdns0(1232, true)
		before := up.times()
		ask(t, s, alice, withDO)
		if up.times() == before {
			t.Error("an answer without signatures was given to who wants them")
		}
	})
}

// TestNegativeWithoutSOA is not kept (RFC 2308, 5).
func TestNegativeWithoutSOA(t *testing.T) {
	up := &stub{answer: func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		return new(dns.Msg).SetRcode(q, dns.RcodeNameError), nil
	}}
	s := newServer(t, &Config{Upstream: up})
	for range 2 {
		if a := ask(t, s, alice, question("none.example", dns.TypeA)); a.Rcode != dns.RcodeNameError {
			t.Errorf("got %v", a)
		}
	}
	if up.times() != 2 {
		t.Errorf("asked %d times", up.times())
	}
}

func TestCacheIsBounded(t *testing.T) {
	var records []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("h%d.example. 60 IN A 192.0.2.1", i))
	}
	for _, cfg := range []Config{{CacheEntries: 10}, {CacheBytes: 5000}, {CacheEntries: -1}} {
		cfg.Upstream = zone(records...)
		s := newServer(t, &cfg)
		for i := range 200 {
			ask(t, s, alice, question(fmt.Sprintf("h%d.example", i), dns.TypeA))
		}
		st := s.Stats()
		switch {
		case cfg.CacheEntries > 0 && st.CacheEntries != 10,
			cfg.CacheEntries < 0 && st.CacheEntries != 0,
			cfg.CacheBytes > 0 && (st.CacheBytes > 5000 || st.CacheBytes < 4000):
			t.Errorf("%d entries, %d bytes with %+v", st.CacheEntries, st.CacheBytes, cfg)
		}
	}
}

// gate is an upstream that answers when it is let.
func gate(records ...string) (*stub, chan error) {
	open := make(chan error)
	return &stub{answer: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		select {
		case err := <-open:
			return inZone(q, records), err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}, open
}

func TestEqualQuestionsAreAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, open := gate("www.example. 60 IN A 192.0.2.1")
		s := newServer(t, &Config{Upstream: up})
		var waiting []<-chan []byte
		for range 50 {
			waiting = append(waiting, send(t, s, alice, question("www.example", dns.TypeA)), send(t, s, bob, question("WWW.EXAMPLE", dns.TypeA)))
		}
		synctest.Wait()
		if st := s.Stats(); st.Waiting != 100 || st.Joined != 99 || up.times() != 1 {
			t.Errorf("%+v", st)
		}
		open <- nil
		for _, w := range waiting {
			<-w
		}
		if st := s.Stats(); st.Waiting != 0 || st.Asked != 1 {
			t.Errorf("%+v", st)
		}
		// Both were told, by the name that they have asked for.
		for _, src := range []netip.AddrPort{alice, bob} {
			if name, fake, ok := s.NameOf(src.Addr(), netip.MustParseAddr("192.0.2.1")); !ok || fake || name != "www.example" {
				t.Errorf("%v: %q %v %v", src, name, fake, ok)
			}
		}
	})
}

func TestTooManyQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, _ := gate()
		s := newServer(t, &Config{Upstream: up, MaxQueries: 24, MaxQueriesPerSource: 20})
		for i := range 100 {
			send(t, s, alice, question(fmt.Sprintf("a%d.example", i), dns.TypeA))
		}
		for i := range 100 {
			send(t, s, bob, question(fmt.Sprintf("b%d.example", i), dns.TypeA))
		}
		st := s.Stats()
		if st.Waiting != 24 || st.OverSource != 80 || st.OverTotal != 96 {
			t.Errorf("%+v", st)
		}
		time.Sleep(11 * time.Second)
		if st := s.Stats(); st.Waiting != 0 || st.TimedOut != 24 {
			t.Errorf("%+v", st)
		}
	})
}

// TestUpstreamFails: the client is told so at once, and why; the question is asked again
// a second later.
func TestUpstreamFails(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, tc := range []struct {
		name   string
		answer func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)
		info   uint16
		count  func(Stats) uint64
	}{
		{"refused", func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, refused },
			dns.ExtendedErrorCodeNetworkError, func(s Stats) uint64 { return s.Failed }},
		{"silent", func(ctx context.Context, _ *dns.Msg) (*dns.Msg, error) { <-ctx.Done(); return nil, ctx.Err() },
			dns.ExtendedErrorCodeNoReachableAuthority, func(s Stats) uint64 { return s.TimedOut }},
		{"SERVFAIL", func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure), nil
		}, dns.ExtendedErrorCodeOther, func(s Stats) uint64 { return s.Failed }},
		{"another id", func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			m := inZone(q, nil)
			m.Id++
			return m, nil
		}, dns.ExtendedErrorCodeInvalidData, func(s Stats) uint64 { return s.Lies }},
		{"another name", func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			m := inZone(q, nil)
			m.Question[0].Name = "evil.example."
			return m, nil
		}, dns.ExtendedErrorCodeInvalidData, func(s Stats) uint64 { return s.Lies }},
		{"another type", func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			m := inZone(q, nil)
			m.Question[0].Qtype = dns.TypeMX
			return m, nil
		}, dns.ExtendedErrorCodeInvalidData, func(s Stats) uint64 { return s.Lies }},
		{"no question", func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			m := inZone(q, nil)
			m.Question = nil
			return m, nil
		}, dns.ExtendedErrorCodeInvalidData, func(s Stats) uint64 { return s.Lies }},
		{"the query", func(_ context.Context, q *dns.Msg) (*dns.Msg, error) { return q, nil },
			dns.ExtendedErrorCodeInvalidData, func(s Stats) uint64 { return s.Lies }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := &stub{answer: tc.answer}
				s := newServer(t, &Config{Upstream: up})
				for i := range 2 {
					m := question("www.example", dns.TypeA)
					m.SetEdns0(1232, false)
					a := ask(t, s, alice, m)
					if a.Rcode != dns.RcodeServerFailure || len(a.Answer) != 0 {
						t.Errorf("got\n%v", a)
					}
					if o := a.IsEdns0(); o == nil || len(o.Option) != 1 || o.Option[0].(*dns.EDNS0_EDE).InfoCode != tc.info {
						t.Errorf("want the extended error %d:\n%v", tc.info, a)
					}
					ask(t, s, bob, question("www.example", dns.TypeA)) // from the cache
					if up.times() != i+1 {
						t.Errorf("asked %d times", up.times())
					}
					time.Sleep(failureTTL)
				}
				if n := tc.count(s.Stats()); n != 2 {
					t.Errorf("%+v", s.Stats())
				}
			})
		})
	}
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, slow := false, time.Duration(0)
		up := &stub{answer: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			time.Sleep(slow)
			if down {
				return nil, errors.New("down")
			}
			return inZone(q, []string{"www.example. 60 IN A 192.0.2.1"}), nil
		}}
		s := newServer(t, &Config{Upstream: up, Stale: time.Hour})
		expect := func(rcode int, ttl uint32, asked int, took time.Duration) {
			t.Helper()
			began, before := time.Now(), up.times()
			a := ask(t, s, alice, question("www.example", dns.TypeA))
			if a.Rcode != rcode || ttl > 0 && (len(a.Answer) != 1 || a.Answer[0].Header().Ttl != ttl) || up.times()-before != asked || time.Since(began) != took {
				t.Errorf("asked %d, after %v, got\n%v", up.times()-before, time.Since(began), a)
			}
		}
		expect(dns.RcodeSuccess, 60, 1, 0)
		time.Sleep(61 * time.Second)
		down = true
		expect(dns.RcodeSuccess, 30, 1, 0)
		expect(dns.RcodeSuccess, 30, 0, 0) // not asked again so soon
		time.Sleep(staleRetry)
		down, slow = false, 5*time.Second
		expect(dns.RcodeSuccess, 30, 1, staleAfter) // the client does not wait for it
		expect(dns.RcodeSuccess, 30, 0, 0)          // nor one that comes meanwhile
		time.Sleep(slow)
		expect(dns.RcodeSuccess, 59, 0, 0) // but it came, 1.8 s ago
		time.Sleep(2 * time.Hour)
		down, slow = true, 0
		expect(dns.RcodeServerFailure, 0, 1, 0)
		if st := s.Stats(); st.Stale != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// TestNoOlderAnswer: what the upstream says last holds, also if that may not be kept.
func TestNoOlderAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record, down := "www.example. 60 IN A 192.0.2.1", false
		s := newServer(t, &Config{Stale: time.Hour, Upstream: &stub{answer: func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			if down {
				return nil, errors.New("down")
			}
			return inZone(q, []string{record}), nil
		}}})
		ask(t, s, alice, question("www.example", dns.TypeA))
		time.Sleep(time.Minute)
		record = "www.example. 0 IN A 192.0.2.2"
		ask(t, s, alice, question("www.example", dns.TypeA))
		down = true
		if a := ask(t, s, alice, question("www.example", dns.TypeA)); a.Rcode != dns.RcodeServerFailure {
			t.Errorf("got\n%v", a)
		}
	})
}

func TestTruncation(t *testing.T) {
	var records []string
	for i := range 60 {
		records = append(records, fmt.Sprintf("big.example. 60 IN A 192.0.2.%d", i), fmt.Sprintf("huge.example. 60 IN TXT %s", strings.Repeat("x", 200)))
	}
	s := newServer(t, &Config{Upstream: zone(records...)})
	for _, tc := range []struct {
		name   string
		qtype  uint16
		size   uint16 // 0: no EDNS
		fits   bool
		atMost int
	}{
		{"big.example", dns.TypeA, 0, false, 512},
		{"big.example", dns.TypeA, 100, false, 512},
		{"big.example", dns.TypeA, 900, false, 900},
		{"big.example", dns.TypeA, 1232, true, 1232},
		{"huge.example", dns.TypeTXT, 65535, false, 1232},
	} {
		m := question(tc.name, tc.qtype)
		if tc.size > 0 {
			m.SetEdns0(tc.size, false)
		}
		b := <-send(t, s, alice, m)
		var a dns.Msg
		if err := a.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if a.Truncated == tc.fits || (len(a.Answer) > 0) != tc.fits || len(b) > tc.atMost || (a.IsEdns0() != nil) != (tc.size > 0) {
			t.Errorf("%s at %d: %d bytes\n%v", tc.name, tc.size, len(b), &a)
		}
	}
	always := newServer(t, &Config{Upstream: zone(records...), Fake: newPool(t, nil), Truncate: true, Rules: []Rule{{Domains: []string{"example"}}}})
	if a := ask(t, always, alice, question("x.example", dns.TypeA)); !a.Truncated {
		t.Errorf("got %v", a)
	}
	if a := ask(t, always, alice, question("fake.test", dns.TypeA)); a.Truncated || len(a.Answer) != 1 {
		t.Errorf("got %v", a)
	}
}

func TestRules(t *testing.T) {
	all, corp, lab := zone(), zone(), zone()
	s := newServer(t, &Config{Upstream: all, Rules: []Rule{
		{Domains: []string{"corp.example", "10.in-addr.arpa."}, Upstream: corp},
		{Domains: []string{"*.Lab.corp.example"}, Upstream: lab},
		{Domains: []string{"www.corp.example"}},
	}})
	for name, want := range map[string]*stub{
		"example": all, "corp.example": corp, "a.b.CORP.example": corp, "xcorp.example": all, "lab.corp.example": lab,
		"a.lab.corp.example": lab, "www.corp.example": all, "1.0.0.10.in-addr.arpa": corp, "1.0.0.11.in-addr.arpa": all, ".": all,
	} {
		before := want.times()
		ask(t, s, alice, question(name, dns.TypeMX))
		if want.times() != before+1 {
			t.Errorf("%s went elsewhere", name)
		}
	}
	// A name that was kept is another's after a reload.
	if err := s.Reload(lab, []Rule{{Domains: []string{"."}, Upstream: corp}}); err != nil {
		t.Fatal(err)
	}
	before := corp.times()
	ask(t, s, alice, question("example", dns.TypeMX))
	if corp.times() != before+1 {
		t.Error("not asked where the new rules say")
	}
	if err := s.Reload(lab, []Rule{{}}); err == nil {
		t.Error("a rule without domains")
	}
	ask(t, s, alice, question("other.example", dns.TypeMX))
	if corp.times() != before+2 {
		t.Error("a reload that failed changed the rules")
	}
}

func TestCloseAnswersWhoWaits(t *testing.T) {
	up, _ := gate()
	s := newServer(t, &Config{Upstream: up})
	w := send(t, s, alice, question("www.example", dns.TypeA))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var a dns.Msg
	if err := a.Unpack(<-w); err != nil || a.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v\n%v", err, &a)
	}
	if a := ask(t, s, alice, question("more.example", dns.TypeA)); a.Rcode != dns.RcodeServerFailure {
		t.Errorf("after Close:\n%v", a)
	}
	if _, err := s.DialContext(t.Context(), "tcp", server.String()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if st := s.Stats(); st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
}

func BenchmarkCached(b *testing.B) {
	s := newServer(b, &Config{Upstream: zone("www.example. 60 IN A 192.0.2.1")})
	benchmarkQuery(b, s)
}

func BenchmarkFake(b *testing.B) {
	benchmarkQuery(b, newServer(b, &Config{Fake: newPool(b, nil)}))
}

func benchmarkQuery(b *testing.B, s *Server) {
	m := question("www.example", dns.TypeA)
	m.SetEdns0(1232, false)
	ask(b, s, alice, m)
	q := packed(b, m)
	b.ReportAllocs()
	for b.Loop() {
		s.handle(q, alice.Addr(), true, func([]byte) {})
	}
}

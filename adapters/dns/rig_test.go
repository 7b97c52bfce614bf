package dns

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"l3extract/adapters/fakeip"
	"l3extract/adapters/outbound"
	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var (
	alice  = netip.MustParseAddrPort("10.0.0.1:40000")
	bob    = netip.MustParseAddrPort("10.0.0.2:40000")
	server = netip.MustParseAddrPort("198.18.37.2:53")
)

func newServer(t testing.TB, cfg *Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newPool(t testing.TB, cfg *fakeip.Config) *fakeip.Pool {
	t.Helper()
	p, err := fakeip.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stub is an upstream that answers by a function, and counts.
type stub struct {
	answer func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)

	mu    sync.Mutex
	asked []string // name and type
}

func (u *stub) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	var q dns.Msg
	if err := q.Unpack(query); err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.asked = append(u.asked, q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype])
	u.mu.Unlock()
	m, err := u.answer(ctx, &q)
	if err != nil {
		return nil, err
	}
	return m.Pack()
}

func (u *stub) Close() error { return nil }

func (u *stub) times() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.asked)
}

// zone answers with the records that are given as text, those of the question's name and
// type, or with NXDOMAIN and a SOA record whose minimum is 60 s.
func zone(records ...string) *stub {
	return &stub{answer: func(_ context.Context, q *dns.Msg) (*dns.Msg, error) { return inZone(q, records), nil }}
}

func inZone(q *dns.Msg, records []string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	exists := false
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Name != dns.CanonicalName(q.Question[0].Name) {
			continue
		}
		exists = true
		if t := rr.Header().Rrtype; t == q.Question[0].Qtype || t == dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) == 0 {
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		soa, _ := dns.NewRR("example. 900 IN SOA ns.example. mail.example. 1 2 3 4 60")
		m.Ns = append(m.Ns, soa)
	}
	if q.IsEdns0() != nil {
		m.SetEdns0(4096, false)
	}
	return m
}

// question is a query for a name.
func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	return m
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// send gives m to s as a datagram of src; answers arrive in the channel.
func send(t testing.TB, s *Server, src netip.AddrPort, m *dns.Msg) <-chan []byte {
	t.Helper()
	answers := make(chan []byte, 16)
	s.HandlePacket(outbound.Flow{Network: "udp", Source: src, Destination: server}, packed(t, m), func(p []byte) { answers <- p })
	return answers
}

// ask sends m over UDP and waits for the answer.
func ask(t testing.TB, s *Server, src netip.AddrPort, m *dns.Msg) *dns.Msg {
	t.Helper()
	select {
	case b := <-send(t, s, src, m):
		var a dns.Msg
		if err := a.Unpack(b); err != nil {
			t.Fatalf("%v: %x", err, b)
		}
		if a.Id != m.Id || !a.Response || !a.RecursionAvailable {
			t.Fatalf("not an answer to the query:\n%v", &a)
		}
		return &a
	case <-time.After(time.Minute):
		t.Fatalf("no answer to\n%v", m)
		return nil
	}
}

// answers are the records of the answer section, one line each, without the name.
func answers(m *dns.Msg) (lines []string) {
	for _, rr := range m.Answer {
		h := rr.Header()
		lines = append(lines, dns.TypeToString[h.Rrtype]+" "+rr.String()[len(h.String()):])
	}
	return lines
}

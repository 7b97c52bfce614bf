package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"

	"l3extract/internal/limit"
)

const (
	// failureTTL is how long a failed question is not asked again: RFC 9520 wants a
	// second at least, and a client shall not wait long for an upstream that is back.
	failureTTL = time.Second

	// staleAfter is how long clients wait for an upstream when there is a stale answer:
	// RFC 8767, 5.
	staleAfter = 1800 * time.Millisecond
)

// The codes of Extended DNS Errors (RFC 8914) that say why there is no answer, plus one.
const (
	infoNone         = 0
	infoOther        = 1 + dns.ExtendedErrorCodeOther
	infoNotReady     = 1 + dns.ExtendedErrorCodeNotReady
	infoNoUpstream   = 1 + dns.ExtendedErrorCodeNoReachableAuthority
	infoNetworkError = 1 + dns.ExtendedErrorCodeNetworkError
	infoInvalid      = 1 + dns.ExtendedErrorCodeInvalidData
)

// ask has q answered: done is called once with the answer, at once or later and from
// another goroutine, with no lock held; or never, if it is to be dropped.
func (s *Server) ask(q *query, done func([]byte)) {
	now := time.Now()
	if a := s.own(q); a != nil {
		s.stats.own.Add(1)
		s.tell(q, a, now, done)
		return
	}
	if q.route.upstream == nil {
		if s.cfg.Fake != nil { // the name may exist, and nobody says more of it
			s.stats.own.Add(1)
			s.tell(q, q.failure(dns.RcodeSuccess, infoNone), now, done)
			return
		}
		s.stats.refused.Add(1)
		s.tell(q, q.failure(dns.RcodeRefused, infoNoUpstream), now, done)
		return
	}
	if a, fresh := s.cache.get(q.key, now); fresh {
		s.stats.cached.Add(1)
		s.tell(q, a, now, done)
		return
	}
	if s.cfg.Truncate && q.datagram {
		s.stats.truncated.Add(1)
		done(q.failure(dns.RcodeSuccess, infoNone).truncated(q))
		return
	}
	if v := s.places.Acquire(q.source, netip.AddrPort{}); v != limit.OK {
		if v == limit.Source {
			s.stats.overSource.Add(1)
		} else {
			s.stats.overTotal.Add(1)
		}
		s.turnAway(q, done)
		return
	}
	if s.flights.join(q.key, waiter{q, done}) {
		if !s.start(func() { s.fly(q) }) {
			s.land(q.key, q.failure(dns.RcodeServerFailure, infoNotReady))
		}
		return
	}
	s.stats.joined.Add(1)
}

// turnAway answers what there is no place for: who asked over UDP asks again.
func (s *Server) turnAway(q *query, done func([]byte)) {
	if !q.datagram {
		done(q.failure(dns.RcodeServerFailure, infoNotReady).reply(q, time.Time{}))
	}
}

// fly asks the upstream for all that wait for q's question.
func (s *Server) fly(q *query) {
	ctx := s.ctx
	if s.cfg.QueryTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.QueryTimeout)
		defer cancel()
	}
	stale, _ := s.cache.get(q.key, time.Now())
	if stale != nil {
		done := make(chan struct{})
		early := time.AfterFunc(staleAfter, func() {
			defer close(done)
			s.cache.late(q.key, stale, time.Now()) // nor do those wait who come now
			s.giveStale(s.flights.take(q.key), stale)
		})
		defer func() {
			if !early.Stop() {
				<-done // Close awaits this goroutine, and nobody that one
			}
		}()
	}
	s.stats.asked.Add(1)
	a, err := s.fetch(ctx, q)
	if err == nil {
		s.cache.put(q.key, a)
		s.land(q.key, a)
		return
	}
	s.failed(q, err)
	if stale != nil {
		s.cache.late(q.key, stale, time.Now())
		s.giveStale(s.flights.end(q.key), stale)
		return
	}
	a = q.failure(dns.RcodeServerFailure, infoOf(err))
	a.made, a.ttl = time.Now(), failureTTL
	if s.ctx.Err() == nil {
		s.cache.put(q.key, a)
	}
	s.land(q.key, a)
}

// failed accounts for an upstream that gave no answer.
func (s *Server) failed(q *query, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		s.stats.timedOut.Add(1)
	} else {
		s.stats.failed.Add(1)
	}
	if s.cfg.Logger != nil {
		s.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "dns: no answer",
			slog.String("name", q.key.name), slog.String("type", dns.Type(q.key.qtype).String()), slog.Any("err", err))
	}
}

// infoOf is what a client is told of err.
func infoOf(err error) uint16 {
	var r *rcodeError
	switch {
	case errors.Is(err, errLie):
		return infoInvalid
	case errors.As(err, &r):
		return infoOther
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return infoNoUpstream
	}
	return infoNetworkError
}

// land ends a flight with a.
func (s *Server) land(k key, a *answer) { s.giveTo(s.flights.end(k), a) }

func (s *Server) giveStale(waiting []waiter, a *answer) {
	s.stats.stale.Add(uint64(len(waiting)))
	s.giveTo(waiting, a)
}

func (s *Server) giveTo(waiting []waiter, a *answer) {
	now := time.Now()
	for _, w := range waiting {
		s.places.Release(w.query.source, netip.AddrPort{})
		s.tell(w.query, a, now, w.done)
	}
}

// tell gives a to q's client, and remembers what it was told.
func (s *Server) tell(q *query, a *answer, now time.Time, done func([]byte)) {
	if len(a.addrs) > 0 && (s.cfg.Fake == nil || !s.cfg.Fake.Contains(a.addrs[0])) {
		until := now
		if !a.made.IsZero() {
			until = a.made.Add(a.ttl)
		}
		if until.Before(now) {
			until = now
		}
		s.names.put(q.source, strings.TrimSuffix(q.key.name, "."), a.addrs, until.Add(s.cfg.NameGrace))
	}
	b := a.reply(q, now)
	if b[2]&(flagTC>>8) != 0 {
		s.stats.truncated.Add(1)
	}
	if s.cfg.OnAnswer != nil {
		network := "tcp"
		if q.datagram {
			network = "udp"
		}
		s.cfg.OnAnswer(Answer{
			Network: network, Source: q.source, Name: strings.TrimSuffix(q.key.name, "."),
			Type: dns.Type(q.key.qtype).String(), Rcode: dns.RcodeToString[a.rcode], Addrs: a.addrs,
		})
	}
	done(b)
}

// rcodeError is the answer of an upstream that is none.
type rcodeError struct{ rcode int }

func (e *rcodeError) Error() string {
	return "the upstream says " + dns.RcodeToString[e.rcode]
}

// errLie is the cause of an error about a response that is not one to what was asked.
var errLie = errors.New("a response to another question, or one that cannot be read")

// fetch asks q's upstream and reads its response.
func (s *Server) fetch(ctx context.Context, q *query) (*answer, error) {
	wire, err := upstreamQuery(q.key)
	if err != nil {
		return nil, err
	}
	response, err := q.route.upstream.Exchange(ctx, wire)
	if err != nil {
		return nil, err
	}
	var m dns.Msg
	if err := responds(response, wire); err != nil {
		s.stats.lies.Add(1)
		return nil, err
	}
	if err := m.Unpack(response); err != nil {
		s.stats.lies.Add(1)
		return nil, fmt.Errorf("%w: %w", errLie, err)
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, &rcodeError{m.Rcode}
	}
	m.Question[0].Name = q.key.name
	s.strip(q, &m)
	ttl := s.lifetime(q, &m)
	a, err := pack(&m)
	if err == nil {
		// What can be read can be written as what cannot: a SOA record without data.
		err = new(dns.Msg).Unpack(a.wire)
	}
	if err != nil {
		s.stats.lies.Add(1)
		return nil, fmt.Errorf("%w: %w", errLie, err)
	}
	a.made, a.ttl = time.Now(), ttl
	return a, nil
}

// responds tells whether response is one to query, by id and question. Both are whole
// messages; the case of the name does not matter.
func responds(response, query []byte) error {
	if len(response) < headerSize || response[2]&(flagQR>>8) == 0 || [2]byte(response) != [2]byte(query) {
		return errLie
	}
	if response[4] != 0 || response[5] != 1 {
		return errLie
	}
	asked, n, err := dns.UnpackDomainName(query, headerSize)
	if err != nil || len(query) < n+4 {
		return errLie
	}
	told, m, err := dns.UnpackDomainName(response, headerSize)
	if err != nil || len(response) < m+4 || !strings.EqualFold(asked, told) || !bytes.Equal(query[n:n+4], response[m:m+4]) {
		return errLie
	}
	return nil
}

// lifetime bounds the TTLs of m and returns how long it may be kept: by RFC 2308 if it
// says that there is nothing.
func (s *Server) lifetime(q *query, m *dns.Msg) time.Duration {
	most := uint32(min(s.cfg.MaxTTL/time.Second, 1<<31-1))
	least, found := most, false
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			h := rr.Header()
			if h.Rrtype == dns.TypeOPT {
				continue
			}
			if h.Ttl >= 1<<31 {
				h.Ttl = 0 // RFC 2181, 8
			}
			h.Ttl = min(h.Ttl, most)
		}
	}
	for _, rr := range m.Answer {
		least = min(least, rr.Header().Ttl)
		found = found || rr.Header().Rrtype == q.key.qtype
	}
	if found && m.Rcode == dns.RcodeSuccess {
		return time.Duration(least) * time.Second
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl, uint32(min(s.cfg.MaxNegativeTTL/time.Second, 1<<31-1)))
			return time.Duration(min(least, soa.Hdr.Ttl)) * time.Second
		}
	}
	return 0
}

package dns

import "sync/atomic"

// Stats is the account of a Server.
type Stats struct {
	Waiting int64 // queries that wait for an upstream now
	Conns   int64 // connections open now
	Names   int64 // addresses whose names NameOf knows now, but for fake ones

	CacheEntries, CacheBytes int64 // in the cache now

	Datagrams   uint64 // queries that came over UDP
	Streamed    uint64 // queries that came over connections
	Own         uint64 // answered without asking: fake addresses and names that are nobody's
	Faked       uint64 // of these, with a fake address
	Cached      uint64 // answered from the cache
	Joined      uint64 // that waited for a question that was being asked already
	Asked       uint64 // questions that upstreams were asked
	Stale       uint64 // answered with what had ended, because the upstream failed
	Truncated   uint64 // answered "truncated"
	Failed      uint64 // questions that upstreams failed to answer, but for those
	TimedOut    uint64 // that they did not answer in time
	Lies        uint64 // responses that were none to the question, or could not be read
	Malformed   uint64 // queries that cannot be read: ignored or answered FORMERR
	Refused     uint64 // queries of kinds that are not served: NOTIMP, REFUSED, BADVERS
	Exhausted   uint64 // answered SERVFAIL because no fake address was free
	OverTotal   uint64 // beyond MaxQueries: dropped, or SERVFAIL over TCP
	OverSource  uint64 // beyond MaxQueriesPerSource, likewise
	ConnsOpened uint64 // connections that DialContext returned
	// ConnsRefused counts those beyond MaxConns and MaxConnsPerSource, ConnsIdle those
	// that ended by ConnIdleTimeout.
	ConnsRefused, ConnsIdle uint64

	Upstreams []UpstreamStats // of those in use that keep an account
}

// counters are the Stats as they are counted.
type counters struct {
	datagrams, streamed, own, faked, cached, joined atomic.Uint64
	asked, stale, truncated, failed, timedOut, lies atomic.Uint64
	malformed, refused, exhausted                   atomic.Uint64
	overTotal, overSource                           atomic.Uint64
	conns, connsRefused, connsIdle                  atomic.Uint64
}

// Stats returns the account as of now.
func (s *Server) Stats() Stats {
	c := &s.stats
	entries, bytes := s.cache.size()
	st := Stats{
		Waiting: int64(s.places.Stats().Held), Conns: int64(s.seats.Stats().Held), Names: int64(s.names.size()),
		CacheEntries: int64(entries), CacheBytes: int64(bytes),
		Datagrams: c.datagrams.Load(), Streamed: c.streamed.Load(), Own: c.own.Load(), Faked: c.faked.Load(),
		Cached: c.cached.Load(), Joined: c.joined.Load(), Asked: c.asked.Load(), Stale: c.stale.Load(),
		Truncated: c.truncated.Load(), Failed: c.failed.Load(), TimedOut: c.timedOut.Load(), Lies: c.lies.Load(),
		Malformed: c.malformed.Load(), Refused: c.refused.Load(), Exhausted: c.exhausted.Load(),
		OverTotal: c.overTotal.Load(), OverSource: c.overSource.Load(),
		ConnsOpened: c.conns.Load(), ConnsRefused: c.connsRefused.Load(), ConnsIdle: c.connsIdle.Load(),
	}
	s.mu.Lock()
	upstreams := s.upstreams
	s.mu.Unlock()
	for _, u := range upstreams {
		if a, ok := u.(accountant); ok {
			st.Upstreams = append(st.Upstreams, a.account()...)
		}
	}
	return st
}

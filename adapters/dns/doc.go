// Package dns answers DNS queries for the clients of a stack: it is an outbound for the
// flows that go to port 53.
//
//	quad9, err := dns.ParseUpstream("tls://dns.quad9.net", &dns.Options{Dialer: proxy})
//	srv, err := dns.New(&dns.Config{Upstream: quad9, Fake: pool})
//	err = srv.Prepare(ctx)   // before routes lead names to it
//
// A Server has no socket towards its clients, and no goroutine for one: DialContext gives
// a connection in memory, HandlePacket takes datagrams, whoever brings them. It has one
// goroutine for each question that an upstream is being asked. What it knows itself is
// answered by the goroutine that brings the query.
//
// # How a query is answered
//
// In this order, the first that holds:
//
//   - what is no query is ignored; one that cannot be read is answered FORMERR; opcodes
//     and classes that are not served NOTIMP and REFUSED, zone transfers REFUSED, a later
//     version of EDNS BADVERS, ANY as in RFC 8482;
//   - localhost and below is the loopback address, invalid does not exist (RFC 6761),
//     and nobody is designated in resolver.arpa (RFC 9462);
//   - with Config.Fake, A and AAAA get a fake address, see below;
//   - the cache, see below;
//   - the upstream of the longest domain in Config.Rules that the name lies below, else
//     Config.Upstream. Equal questions that come meanwhile wait for the same answer.
//
// An upstream is sent a message of the Server's own, with no more of the client's than
// the question, DO and CD: no client subnet and no cookie. Its response is read and
// packed again, so a client gets well-formed messages only. One with another id or
// question is no response, and counted. If there is no answer clients are told SERVFAIL
// with an Extended DNS Error (RFC 8914) that says why.
//
// A datagram holds no more than the client has room for (EDNS, RFC 6891; 512 bytes
// without) and no more than Config.MaxUDPSize. A longer answer is "truncated" without
// records, and the client asks over TCP.
//
// # Cache
//
// Answers are kept for the least TTL in them, those that say that there is nothing for
// that of the SOA record (RFC 2308), and failures for a second (RFC 9520). TTLs count
// down. Bounds are entries and bytes. Config.Stale has answers given for longer when the
// upstream fails or takes more than 1.8 s (RFC 8767).
//
// # Fake addresses
//
// With Config.Fake (see [l3extract/adapters/fakeip]) a name stands behind an address of
// the pool, whether it exists or not: whoever serves the flow to that address asks NameOf
// and dials the name, over a proxy that resolves it. A name that a rule gives an upstream
// keeps its real addresses. So that none of the others' gets by:
//
//   - other types are asked for as ever, but what comes has no addresses beside the
//     answer, and HTTPS and SVCB records no hints. Without Config.Upstream nothing is
//     asked at all, and there is no such data;
//   - PTR of a fake address is its name;
//   - use-application-dns.net does not exist, which tells Firefox to leave names to us.
//
// # Names of flows
//
// NameOf says by which name a client has asked for an address, for routing by domain:
// from the pool, or from the answers that this very client was given.
//
// # Upstreams
//
// ParseUpstream makes them of URLs; Failover and System try several in turn. Over UDP a
// question has a socket of its own for as long as it is asked, and is sent again after
// 0.8 s and 1.6 s; over TCP and TLS questions share a few connections, in any order; over
// HTTPS likewise. Connections are kept while they are of use. Encrypted questions are
// padded (RFC 8467).
//
// # Defaults
//
// Zero is the default; a negative number means no limit, never or none.
//
//	FakeTTL               10 s
//	MaxUDPSize            1232      DNS flag day 2020
//	QueryTimeout          10 s
//	MaxQueries            4096, and 1024 per source
//	MaxConns              1024, and 128 per source
//	ConnIdleTimeout       30 s
//	CacheEntries          16384, in at most 8 MiB
//	MaxTTL                24 h, and 1 h for what does not exist
//	Stale                 never
//	MaxNames              65536, and 4096 per source
//	NameGrace             10 min
//	Options.Timeout       4 s for one server; 2 s for one of the host's
package dns

package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/internal/limit"
)

// Server answers DNS queries. It is an outbound for the flows that go to port 53:
// an outbound.Dialer whose connections it serves itself, and an outbound.PacketHandler.
// Its methods may be called at once.
type Server struct {
	cfg     Config
	cache   *cache // nil: none
	names   *names // nil: none
	rules   atomic.Pointer[rules]
	places  *limit.Table // of the queries that wait for an upstream
	seats   *limit.Table // of connections
	flights flights
	stats   counters

	ctx    context.Context // of all questions to upstreams
	cancel context.CancelFunc
	group  sync.WaitGroup // the flights; Close awaits it

	mu         sync.Mutex
	closed     bool
	generation uint64
	upstreams  []Upstream
	conns      map[*conn]struct{}
}

var (
	_ outbound.Dialer        = (*Server)(nil)
	_ outbound.PacketHandler = (*Server)(nil)
)

// New returns a Server that answers at once. A nil cfg is the default, which refuses
// everything; the error names the field that makes no sense. The Server has no
// goroutine but one for each question that an upstream is being asked.
func New(cfg *Config) (*Server, error) {
	if cfg == nil {
		cfg = new(Config)
	}
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     c,
		cache:   newCache(c.CacheEntries, c.CacheBytes, c.Stale),
		names:   newNames(c.MaxNames, c.MaxNamesPerSource),
		places:  limit.New(limit.Config{Total: c.MaxQueries, PerSource: c.MaxQueriesPerSource}, nil),
		seats:   limit.New(limit.Config{Total: c.MaxConns, PerSource: c.MaxConnsPerSource}, nil),
		flights: flights{byKey: make(map[key][]waiter)},
		conns:   make(map[*conn]struct{}),
	}
	if err := s.Reload(c.Upstream, c.Rules); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Reload puts other upstreams in the place of Config.Upstream and Config.Rules, and
// empties the cache. Queries that wait are answered as before, so the old upstreams are
// to be closed no sooner than Config.QueryTimeout later, unless they may fail. After
// an error, which says what makes no sense, everything is as it was.
func (s *Server) Reload(upstream Upstream, rules []Rule) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cfg
	c.Upstream, c.Rules = upstream, rules
	r, err := newRules(&c, s.generation+1)
	if err != nil {
		return err
	}
	s.generation++
	s.upstreams = c.upstreams()
	s.rules.Store(r)
	s.cache.clear()
	return nil
}

// Prepare has each upstream look up the address of its server now, if it has a name:
// to be called before routes lead names to this Server. The error joins those of all.
func (s *Server) Prepare(ctx context.Context) error {
	s.mu.Lock()
	all := s.upstreams
	s.mu.Unlock()
	var errs []error
	for _, u := range all {
		errs = append(errs, Prepare(ctx, u))
	}
	return errors.Join(errs...)
}

// NameOf says which name dst stands for when src connects to it. If dst is a fake
// address fake is true, and ok false if it has no name: such a flow leads nowhere. Else
// the name is the one for which src was told dst last, as long as its TTL and
// Config.NameGrace last. It has no final dot.
func (s *Server) NameOf(src, dst netip.Addr) (name string, fake, ok bool) {
	dst = unmapped(dst)
	if s.cfg.Fake != nil && s.cfg.Fake.Contains(dst) {
		name, ok = s.cfg.Fake.Name(dst)
		return name, true, ok
	}
	name, ok = s.names.get(unmapped(src), dst, time.Now())
	return name, false, ok
}

// HandlePacket implements outbound.PacketHandler: it answers the query p, at once if it
// can. What it cannot take is dropped and counted, see Stats.
func (s *Server) HandlePacket(f outbound.Flow, p []byte, reply func(p []byte)) {
	s.stats.datagrams.Add(1)
	s.handle(p, f.Source.Addr(), true, reply)
}

// handle answers the query in p, which it does not keep: by one call of done, now or
// later, unless it is over UDP and dropped. It returns false, and never calls done, if p
// is no query.
func (s *Server) handle(p []byte, source netip.Addr, datagram bool, done func([]byte)) bool {
	q, refusal := s.readQuery(p, source, datagram)
	if q != nil {
		s.ask(q, done)
		return true
	}
	if refusal != nil {
		done(refusal)
	}
	return refusal != nil
}

// DialContext implements outbound.Dialer: the connection it returns is a client's to
// this Server, which answers the queries written to it (RFC 7766). The client is the
// Source of the flow in ctx, if there is one. Beyond Config.MaxConns it is refused
// (ECONNREFUSED); after Close the cause is net.ErrClosed.
func (s *Server) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if !strings.HasPrefix(network, "tcp") {
		return fail(net.UnknownNetworkError(network))
	}
	f, _ := outbound.FlowFrom(ctx)
	c := newConn(s, f, address)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fail(net.ErrClosed)
	}
	if s.seats.Acquire(c.source, netip.AddrPort{}) != limit.OK {
		s.stats.connsRefused.Add(1)
		return fail(errRefused)
	}
	s.stats.conns.Add(1)
	s.conns[c] = struct{}{}
	c.begin()
	return c, nil
}

// forget is called once by each connection as it ends.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.seats.Release(c.source, netip.AddrPort{})
}

// start runs f in a goroutine that Close awaits, and false once the Server is closed.
func (s *Server) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.group.Go(f)
	return true
}

// Close ends all connections, answers the queries that wait SERVFAIL, and returns when
// no goroutine is left. Later queries that need an upstream are answered SERVFAIL. It
// may be called again, and returns nil.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.conns
	s.conns = make(map[*conn]struct{})
	s.mu.Unlock()
	s.cancel()
	for c := range open {
		c.Close()
	}
	s.group.Wait()
	return nil
}

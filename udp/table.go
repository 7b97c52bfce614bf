package udp

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/limit"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// broadcast is the only broadcast address that can be told without a netmask.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Table holds the Sockets of one stack and finds the one that a datagram is for.
// It is made by package stack; nobody else can make one. All methods may be
// called at once. None waits, but for Close, and nothing runs until the first
// Socket has a timeout.
type Table struct {
	cfg      Config
	env      Env
	acceptor *Acceptor
	memory   memory
	start    time.Time // now counts from here

	segments SegmentOutput   // env.Out, if it is one
	offload  l3conn.Features // what may be left to it

	// Of the goroutine that reads the conn, between BeginBatch and EndBatch.
	batch batch

	evicted, evictedSource atomic.Uint64 // for MaxSockets, for MaxSocketsPerSource

	// mu is held for constant time only, because the goroutine that reads the
	// conn takes it. No Socket's mutex is taken under it, nor is anything called
	// that is not of this package, but for the clock.
	mu      sync.Mutex
	mapped  map[key]*Socket // accepted
	sources *sources        // the same
	own     own             // from Listen and Dial
	expiry  expiry
	cause   error // of the end; nil while the table lives
}

// place is where a Socket stands in its table, whose mutex guards it.
type place struct {
	in     bool // in mapped or own
	source *source
	node   node[*Socket] // in source.socks
	key    key           // in mapped

	heap    int           // index in expiry; -1 is none
	due     int64         // when to look again, at the earliest
	last    int64         // when the client last sent
	idle    time.Duration // of SetIdleTimeout; 0 is the Config's
	many    bool          // the client has sent more than one datagram
	noDNS   bool          // the client has sent to another port than 53
	written atomic.Int64  // when the application last sent, if that matters
}

// NewTable returns an empty table; nothing runs yet. A nil cfg is all defaults;
// a value that makes no sense is an error that names its field.
func NewTable(cfg *Config, env Env) (*Table, error) {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	t := &Table{
		cfg: c.defaults(), env: env.defaults(),
		mapped: make(map[key]*Socket), sources: newSources(),
	}
	t.start = t.env.Now()
	if t.segments, _ = env.Out.(SegmentOutput); t.segments != nil {
		t.offload = t.segments.DatagramOffload()
	}
	if t.env.AllowICMP == nil {
		r := limit.NewRate(icmpRate, icmpRate, t.env.SourceKey)
		t.env.AllowICMP = func(to netip.Addr) bool { return r.Allow(to, t.env.Now()) }
	}
	t.memory.limit, t.memory.budget = t.cfg.TotalQueueBytes, t.env.Budget
	t.acceptor = newAcceptor(t)
	t.own.init()
	return t, nil
}

// Acceptor returns the table's acceptor, always the same.
func (t *Table) Acceptor() *Acceptor { return t.acceptor }

// Open makes the acceptor take datagrams before anybody has asked it for a Socket:
// whoever was handed it will, and a client may be faster.
func (t *Table) Open() { t.acceptor.asked.Store(true) }

// now returns the time since the table was made, in nanoseconds.
func (t *Table) now() int64 { return int64(t.env.Now().Sub(t.start)) }

// HandlePacket takes a whole UDP packet that has passed the door, on the
// goroutine that reads the conn: it copies what it keeps and never waits.
func (t *Table) HandlePacket(p *packet.Packet) {
	src, dst := p.SrcAddrPort(), p.DstAddrPort()
	if !t.cfg.Multicast && t.env.ToMany(dst.Addr()) && !t.env.Joined(dst.Addr()) {
		t.env.Drops.Add(drop.Multicast)
		return
	}
	// A Socket may end between being found and being given the datagram. It has
	// left the table by then, so that the second look finds another or none.
	for range 2 {
		s, known := t.find(src, dst)
		if s == nil {
			if known || t.open(p, src, dst) {
				return
			}
			continue // another goroutine has just opened it
		}
		if s.enqueue(src, dst, p.Payload, p.TTL, &t.batch) != drop.Closed {
			return
		}
	}
	t.env.Drops.Add(drop.UDPClosed)
}

// find returns the Socket for a datagram and notes that it was used. Without
// one, known tells that the datagram has been dealt with.
func (t *Table) find(src, dst netip.AddrPort) (s *Socket, known bool) {
	now := t.batch.now
	if !t.batch.open {
		now = t.now()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		t.env.Drops.Add(drop.Closed)
		return nil, true
	}
	if s := t.own.find(&t.env, src, dst); s != nil {
		return s, true
	}
	if t.own.late(src, dst, now) {
		t.env.Drops.Add(drop.UDPClosed)
		return nil, true
	}
	s = t.mapped[keyOf(t.cfg.Mapping, src, dst)]
	if s == nil {
		return nil, false
	}
	s.place.last = now
	s.place.many = true
	s.place.noDNS = s.place.noDNS || dst.Port() != portDNS
	t.sources.touch(s)
	return s, true
}

// remove takes s out of the table, if it is there.
func (t *Table) remove(s *Socket) {
	now := t.now()
	t.mu.Lock()
	t.removeLocked(s, now)
	t.mu.Unlock()
}

func (t *Table) removeLocked(s *Socket, now int64) {
	if !s.place.in {
		return
	}
	s.place.in = false
	t.expiry.remove(s)
	if s.kind == accepted {
		delete(t.mapped, s.place.key)
		t.sources.remove(s)
		return
	}
	t.own.remove(s, now)
}

// Close ends the acceptor and all Sockets with cause; nil stands for Shutdown.
// Every later call finds them ended, too. It returns once nothing of the table
// runs any more, and must not be called from a callback of the stack.
func (t *Table) Close(cause error) {
	cause = causeOf(cause, flow.Shutdown)
	t.mu.Lock()
	var all []*Socket
	if t.cause == nil {
		t.cause = cause
		for _, s := range t.mapped {
			all = append(all, s)
		}
		all = t.own.appendAll(all)
		t.expiry.stop()
	}
	t.mu.Unlock()
	for _, s := range all {
		s.end(cause, drop.UDPClosed)
	}
	t.acceptor.close(closedError(cause))
	t.expiry.running.Wait()
}

// Stats is the account of a Table at one moment.
type Stats struct {
	Sockets       int    // accepted and alive
	Own           int    // from Listen and Dial
	Sources       int    // keys that have accepted Sockets
	Waiting       int    // accepted Sockets that nobody has taken yet
	QueuedBytes   int64  // of all queues, by the size of the buffers
	Evicted       uint64 // Sockets that made room: for MaxSockets
	EvictedSource uint64 // the same for MaxSocketsPerSource
}

// Stats returns the account of the table.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{
		Sockets: len(t.mapped), Own: t.own.count, Sources: len(t.sources.byKey),
		Waiting: t.acceptor.waiting(), QueuedBytes: t.memory.used.Load(),
		Evicted: t.evicted.Load(), EvictedSource: t.evictedSource.Load(),
	}
}

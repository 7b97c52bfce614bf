package forward

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/icmp"
	"l3extract/internal/limit"
	"l3extract/stack"
)

// PingListener opens the sockets of pings. Network is "ip4:icmp" or "ip6:ipv6-icmp";
// what it opens is a ping socket, a *net.UDPConn, or a raw one, a *net.IPConn.
// direct.Dialer is a PingListener.
type PingListener interface {
	ListenPing(ctx context.Context, network string) (net.PacketConn, error)
}

// The defaults of Server's fields about pings.
const (
	DefaultPingTimeout       = 10 * time.Second
	DefaultMaxPings          = 1024
	DefaultMaxPingsPerSource = 128
)

// pinger pings for the clients of a session: one socket for each outbound and IP version,
// with a goroutine each for what comes back, and one for all that is sent.
type pinger struct {
	session  *session
	acceptor *icmp.Acceptor
	listener PingListener
	places   *limit.Table
	timeout  time.Duration // 0: none
	retry    time.Duration // until a socket that could not be had is asked for again

	// Of the goroutine of run.
	sockets map[pingKey]*pingOutlet
	seen    *lostVia
	off     bool // the Server's listener may not open any
	readers sync.WaitGroup

	mu      sync.Mutex // a leaf
	flights map[flightID]*list.Element
	byAge   list.List // of *flight, oldest first
	last    uint16    // sequence number given
}

// flight is a ping on its way. Its number is ours: all clients share a socket.
type flight struct {
	id     flightID
	echo   *icmp.Echo
	target netip.Addr
	due    time.Time
}

type flightID struct {
	v6  bool
	seq uint16
}

// newPinger returns nil when there is nobody to ask for sockets.
func newPinger(n *session, listener PingListener) *pinger {
	if listener == nil && n.srv.Route == nil {
		return nil
	}
	most := orDefault(n.srv.MaxPings, DefaultMaxPings)
	if most == 0 || most > maxFlights { // the sequence numbers end somewhere
		most = maxFlights
	}
	return &pinger{
		session: n, acceptor: n.stack.ICMP(), listener: listener,
		timeout: orDefault(n.srv.PingTimeout, DefaultPingTimeout), retry: pingRetry,
		places: limit.New(limit.Config{
			Total:     most,
			PerSource: orDefault(n.srv.MaxPingsPerSource, DefaultMaxPingsPerSource),
		}, nil),
		sockets: make(map[pingKey]*pingOutlet),
		flights: make(map[flightID]*list.Element),
	}
}

// setPinger finds who opens the sockets of pings.
func (n *session) setPinger() {
	listener := n.srv.PingListener
	if listener == nil {
		listener, _ = n.plain.(PingListener)
	}
	if listener == nil {
		n.log.Debug("pings are not forwarded: the Dialer is no PingListener and there is no other")
	}
	n.pings = newPinger(n, listener)
}

// maxFlights leaves half of the sequence numbers free.
const maxFlights = 1 << 15

// run takes echoes until the acceptor or ctx ends.
func (p *pinger) run(ctx context.Context) {
	defer p.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-p.acceptor.Echoes():
			if !ok {
				return
			}
			p.ping(ctx, e)
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if wait := p.expire(time.Now()); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// end closes the sockets and forgets what is on its way.
func (p *pinger) end() {
	for _, s := range p.sockets {
		if s.socket != nil {
			s.socket.close()
		}
	}
	p.readers.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.byAge.Len() > 0 {
		p.landLocked(p.byAge.Front())
	}
}

// expire gives up what was not answered in time, and returns when to look again, 0
// when there is nothing to wait for.
func (p *pinger) expire(now time.Time) time.Duration {
	if p.timeout == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.byAge.Front(); e != nil; e = p.byAge.Front() {
		if wait := e.Value.(*flight).due.Sub(now); wait > 0 {
			return wait
		}
		p.landLocked(e)
		p.session.stats.pingsLate.Add(1)
	}
	return 0
}

// ping sends an echo on, or tells its client why not.
func (p *pinger) ping(ctx context.Context, e *icmp.Echo) {
	n := p.session
	target, key, err := p.target(ctx, e)
	if err != nil {
		if errors.Is(err, stack.Policy) {
			n.stats.policyPings.Add(1)
		} else {
			n.stats.pingsLost.Add(1)
		}
		n.log.Debug("ping refused", "source", e.Source, "destination", e.Destination, "err", err)
		p.tell(e, err)
		return
	}
	if p.places.Acquire(e.Source, netip.AddrPort{}) != limit.OK {
		n.stats.pingsOver.Add(1)
		return
	}
	p.rebind()
	socket, err := p.socket(ctx, key)
	if err != nil {
		p.places.Release(e.Source, netip.AddrPort{})
		n.stats.pingsLost.Add(1)
		if !errors.Is(err, errPingsOff) {
			p.tell(e, err)
		}
		return
	}
	id := p.launch(e, target)
	hops := n.hopsLeft(e.TTL, e.Source)
	err = socket.send(id.seq, e.Payload, target, hops)
	for again := 0; err != nil && again < sendAgain; again++ {
		socket.faults(p.faulted)
		err = socket.send(id.seq, e.Payload, target, hops)
	}
	if err != nil {
		p.land(id, target)
		n.stats.pingsLost.Add(1)
		if !congested(err) && !errors.Is(err, syscall.EMSGSIZE) {
			p.tell(e, err)
		}
		return
	}
	p.shorten(id)
	n.stats.pings.Add(1)
}

// tell tells a client that its ping went nowhere.
func (p *pinger) tell(e *icmp.Echo, err error) {
	if errno := unreachable(err); errno != 0 {
		err = errno
	}
	_ = e.Unreachable(err) // fails for what must not be answered, which is as well
}

// target says what an echo pings, and by which socket.
func (p *pinger) target(ctx context.Context, e *icmp.Echo) (netip.Addr, pingKey, error) {
	f := outbound.Flow{
		Network: "icmp", Source: netip.AddrPortFrom(e.Source, 0), Destination: netip.AddrPortFrom(e.Destination, 0),
	}
	t, err := p.session.route(ctx, f)
	key := pingKey{six: t.Addr.Addr().Is6()}
	switch {
	case err != nil:
		return netip.Addr{}, key, err
	case t.Host != "":
		return netip.Addr{}, key, errNoNames
	case t.Dialer != nil:
		key.by, _ = t.Dialer.(PingListener)
		if key.by == nil || !canCompare(t.Dialer) {
			return netip.Addr{}, key, errNoPings
		}
	}
	if !t.Trusted {
		err = p.session.judge(t.Addr.Addr())
	}
	return t.Addr.Addr(), key, err
}

// launch gives an echo its number.
func (p *pinger) launch(e *icmp.Echo, target netip.Addr) flightID {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := flightID{v6: target.Is6()}
	for id.seq = p.last + 1; p.flights[id] != nil; id.seq++ { // ends: there are fewer flights than numbers
	}
	p.last = id.seq
	f := &flight{id: id, echo: e, target: target, due: time.Now().Add(p.timeout)}
	p.flights[id] = p.byAge.PushBack(f)
	return id
}

// maxQuote is what the largest ICMP error quotes of a ping's payload: it has 1280 bytes,
// two IPv6 headers and two of ICMP among them.
const maxQuote = 1280 - 2*(40+8)

// shorten keeps of the payload of a ping that was sent what an error quotes: so many are
// in flight at once, for so long.
func (p *pinger) shorten(id flightID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.flights[id]
	if e == nil {
		return // answered already
	}
	if echo := e.Value.(*flight).echo; len(echo.Payload) > maxQuote {
		echo.Payload = bytes.Clone(echo.Payload[:maxQuote])
	}
}

// land takes a ping of target out; nil when there is none, or none any more.
func (p *pinger) land(id flightID, target netip.Addr) *icmp.Echo {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.flights[id]
	if e == nil || e.Value.(*flight).target != target {
		return nil
	}
	return p.landLocked(e)
}

func (p *pinger) landLocked(e *list.Element) *icmp.Echo {
	f := p.byAge.Remove(e).(*flight)
	delete(p.flights, f.id)
	p.places.Release(f.echo.Source, netip.AddrPort{})
	return f.echo
}

// answered passes the reply of a target on.
func (p *pinger) answered(v6 bool, seq uint16, from netip.Addr, payload []byte, ttl uint8) {
	e := p.land(flightID{v6, seq}, from)
	if e == nil {
		return // too late, or nobody's
	}
	p.session.stats.pongs.Add(1)
	if ttl > 0 {
		ttl = p.session.hopsLeft(ttl, e.Source)
	}
	_ = e.ReplyWith(payload, ttl) // fails for a reply that no packet holds
}

// faulted passes an ICMP error about a ping on.
func (p *pinger) faulted(v6 bool, seq uint16, q queuedFault) {
	if q.fault.Kind == 0 {
		return
	}
	target := q.target.Addr()
	e := p.land(flightID{v6, seq}, target)
	if e == nil {
		return
	}
	p.session.stats.pingErrors.Add(1)
	f := asSeen(q.fault, target, e.Destination)
	_ = e.Report(&f) // fails for what must not be answered, which is as well
}

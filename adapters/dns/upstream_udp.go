package dns

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/semaphore"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
)

const (
	// A socket serves one exchange at a time. It is kept for the next ones, because to
	// open one over a proxy is several round trips; but not for long nor often, because
	// a forger has to guess its port.
	maxIdleSockets  = 16
	socketIdle      = 10 * time.Second
	socketExchanges = 32

	// So many sockets are open at most; further exchanges wait for one. Over a proxy each
	// is an association there.
	maxSockets      = 256
	maxAssociations = 32

	// noUDPTime is how long a proxy that has said that it carries no datagrams is not
	// asked to again.
	noUDPTime = time.Minute
)

// resend is when a query that is not answered is sent again: the client that asks again
// only joins those who wait.
var resend = [...]time.Duration{800 * time.Millisecond, 1600 * time.Millisecond}

// packets is an upstream over UDP.
type packets struct {
	*target
	fallback *streams            // for what is truncated
	places   *semaphore.Weighted // of sockets in use
	noUDP    atomic.Int64        // until this time, in ns, it is not tried
	stats    upstreamCounters

	mu     sync.Mutex
	closed bool
	idle   []*socket // the one used last at the end
	open   sync.WaitGroup
}

// socket is a socket that is used for one exchange at a time.
type socket struct {
	net.PacketConn
	conn net.Conn // the same, if it is connected: then only the peer's packets and errors come
	peer net.Addr
	at   int // which of the target's addresses that is
	used int
	reap *time.Timer // while it is idle
}

func newPackets(t *target) *packets {
	u := &packets{target: t, fallback: newStreams(t, nil)}
	n := int64(maxAssociations)
	if _, ok := t.options.PacketListener.(*direct.Dialer); ok {
		n = maxSockets
	}
	u.places = semaphore.NewWeighted(n)
	return u
}

func (u *packets) String() string { return "udp://" + u.target.String() }

func (u *packets) account() []UpstreamStats {
	a := u.stats.stats(u.String())
	if f := u.fallback.account(); f[0].Exchanges > 0 {
		a = append(a, f...)
	}
	return a
}

func (u *packets) Exchange(ctx context.Context, query []byte) (response []byte, err error) {
	if u.options.PacketListener == nil || time.Now().UnixNano() < u.noUDP.Load() {
		return u.fallback.Exchange(ctx, query)
	}
	response, err = u.exchange(ctx, query)
	if errors.Is(err, errors.ErrUnsupported) { // a proxy that carries no datagrams, as it turns out
		u.noUDP.Store(time.Now().Add(noUDPTime).UnixNano())
		return u.fallback.Exchange(ctx, query)
	}
	u.stats.ended(err)
	if err == nil && response[2]&(flagTC>>8) != 0 {
		return u.fallback.Exchange(ctx, query)
	}
	return response, err
}

func (u *packets) exchange(ctx context.Context, query []byte) ([]byte, error) {
	ctx, cancel := u.options.within(ctx)
	defer cancel()
	if u.places.Acquire(ctx, 1) != nil {
		return nil, ended(ctx, u.target)
	}
	defer u.places.Release(1)
	s, err := u.take(ctx)
	if err != nil {
		return nil, err
	}
	response, clean, err := u.over(ctx, s, query)
	if u.known() {
		u.tried(s.at, err)
	}
	if s.used++; err != nil || !clean || s.used >= socketExchanges {
		u.drop(s)
	} else {
		u.keep(s)
	}
	return response, err
}

// udpBuffers hold the largest datagram, of which a response is mostly a hundredth.
var udpBuffers = sync.Pool{New: func() any { return new([dns.MaxMsgSize]byte) }}

// over asks query over s. A socket is clean if nothing else can come on it.
func (u *packets) over(ctx context.Context, s *socket, query []byte) (response []byte, clean bool, err error) {
	enough := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) }) // and s is dropped
	defer enough()
	clean = true
	buf := udpBuffers.Get().(*[dns.MaxMsgSize]byte)
	defer udpBuffers.Put(buf)
	b := buf[:]
	began := time.Now()
	for try := 0; ; try++ {
		if err := s.send(query); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = u.timedOut(s, cause)
			}
			return nil, false, err
		}
		var until time.Time
		if try < len(resend) {
			until = began.Add(resend[try])
		}
		if err := s.SetReadDeadline(until); err != nil {
			return nil, false, err
		}
		if err := context.Cause(ctx); err != nil { // and its deadline may have been overwritten
			return nil, false, u.timedOut(s, err)
		}
		for {
			n, from, err := s.ReadFrom(b)
			switch {
			case err == nil && fromPeer(from, s.peer) && responds(b[:n], query) == nil:
				return bytes.Clone(b[:n]), clean && enough(), nil
			case err == nil:
				clean = false
				u.stats.ignored.Add(1)
				continue
			case context.Cause(ctx) != nil:
				return nil, false, u.timedOut(s, context.Cause(ctx))
			case !errors.Is(err, os.ErrDeadlineExceeded):
				return nil, false, err
			}
			clean = false // a second query may get a second response
			break
		}
	}
}

func (s *socket) send(query []byte) (err error) {
	if s.conn != nil {
		_, err = s.conn.Write(query)
	} else {
		_, err = s.WriteTo(query, s.peer)
	}
	return err
}

func (u *packets) timedOut(s *socket, cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		cause = os.ErrDeadlineExceeded
	}
	return &net.OpError{Op: "read", Net: "udp", Source: s.LocalAddr(), Addr: s.peer, Err: cause}
}

// fromPeer tells whether a response is from whom was asked. Of a name nobody here
// knows the address.
func fromPeer(from, peer net.Addr) bool {
	f, ok1 := from.(*net.UDPAddr)
	p, ok2 := peer.(*net.UDPAddr)
	if !ok1 || !ok2 {
		return true
	}
	a, b := f.AddrPort(), p.AddrPort()
	return a.Port() == b.Port() && unmapped(a.Addr()) == unmapped(b.Addr())
}

// take returns an idle socket or a new one.
func (u *packets) take(ctx context.Context) (*socket, error) {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, net.ErrClosed
	}
	if n := len(u.idle); n > 0 {
		s := u.idle[n-1]
		u.idle = u.idle[:n-1]
		s.reap.Stop()
		u.mu.Unlock()
		u.stats.reused.Add(1)
		return s, nil
	}
	u.open.Add(1)
	u.mu.Unlock()
	s, err := u.listen(ctx)
	if err != nil {
		u.open.Done()
		return nil, err
	}
	u.stats.opened.Add(1)
	return s, nil
}

func (u *packets) listen(ctx context.Context) (*socket, error) {
	network, at := "udp4", 0
	peer := net.Addr(outbound.Name{Host: u.host, Port: u.port})
	if u.known() || !u.options.ByName {
		if err := u.prepare(ctx); err != nil {
			return nil, err
		}
		addrs, first := u.now()
		if at = first; addrs[at].Is6() {
			network = "udp6"
		}
		peer = net.UDPAddrFromAddrPort(netip.AddrPortFrom(addrs[at], u.port))
	}
	if d, ok := u.options.PacketListener.(*direct.Dialer); ok && u.known() {
		c, err := d.DialContext(ctx, network, peer.String())
		if err != nil {
			return nil, err
		}
		return &socket{PacketConn: c.(*net.UDPConn), conn: c, peer: peer, at: at}, nil
	}
	pc, err := u.options.PacketListener.ListenPacket(ctx, network, ":0")
	if err != nil {
		return nil, err
	}
	return &socket{PacketConn: pc, peer: peer, at: at}, nil
}

// keep makes s idle.
func (u *packets) keep(s *socket) {
	u.mu.Lock()
	if u.closed || len(u.idle) >= maxIdleSockets {
		u.mu.Unlock()
		u.drop(s)
		return
	}
	s.reap = time.AfterFunc(socketIdle, func() { u.forget(s) })
	u.idle = append(u.idle, s)
	u.mu.Unlock()
}

// forget drops s if it is idle still.
func (u *packets) forget(s *socket) {
	u.mu.Lock()
	for i, other := range u.idle {
		if other == s {
			u.idle = append(u.idle[:i], u.idle[i+1:]...)
			u.mu.Unlock()
			u.drop(s)
			return
		}
	}
	u.mu.Unlock()
}

func (u *packets) drop(s *socket) {
	_ = s.Close()
	u.open.Done()
}

// Close implements Upstream. Exchanges that are under way end in their time.
func (u *packets) Close() error {
	u.mu.Lock()
	idle := u.idle
	u.closed, u.idle = true, nil
	u.mu.Unlock()
	for _, s := range idle {
		s.reap.Stop()
		u.drop(s)
	}
	u.open.Wait()
	return u.fallback.Close()
}

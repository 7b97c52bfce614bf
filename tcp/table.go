package tcp

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/internal/limit"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

// TableConfig is what a Table is made of.
type TableConfig struct {
	Env    *Env    // what the stack shares with its streams
	Config *Config // resolved
	// Engine answers SYNs. It is not used before the first HandleSYN.
	Engine Engine
	// SourceKey says which sources share their limits; nil is /32 and /64.
	SourceKey func(netip.Addr) netip.Prefix
	// Own are the stack's own addresses, on which it can listen: a listener
	// without an address takes SYNs for any of these. With none it takes those
	// for any address, and one can listen on any.
	Own []netip.Addr
}

// Table gives every SYN to the listener of its port or to the acceptor of all
// addresses. It owns their queues, limits and goroutines. Its methods may be
// called at once by anyone. Only package stack can build one.
type Table struct {
	env  *Env
	cfg  *Config
	key  func(netip.Addr) netip.Prefix
	own  []netip.Addr
	syns *synTable
	all  *Acceptor

	// newStream makes the stream of an established endpoint; tests, which have
	// none, replace it.
	newStream func(ep *netstack.Endpoint, r *request) *Stream

	owned sync.WaitGroup // goroutines of acceptors; Close waits for them

	// listeners is replaced as a whole, so that the reader needs no lock.
	listeners atomic.Pointer[[]*listener]

	mu     sync.Mutex // held while listeners is replaced; before an Acceptor's
	closed error      // why the table has ended
	closes sync.Once
	gone   chan struct{} // closed when Close has waited for everything
}

// listener is an own port that somebody listens on.
type listener struct {
	addr netip.AddrPort // an invalid address is all of both families, an unspecified one all of its own
	a    *Acceptor
}

// NewTable returns a Table; it starts nothing.
func NewTable(cfg TableConfig) *Table {
	t := &Table{
		env: cfg.Env, cfg: cfg.Config, key: cfg.SourceKey, own: slices.Clone(cfg.Own),
		gone: make(chan struct{}),
	}
	t.syns = newSYNTable(cfg.Env, cfg.Config, cfg.Engine, cfg.SourceKey)
	t.newStream = t.established
	t.all = newAcceptor(t, anyAddr{}, cfg.Config.LazyHandshake)
	t.listeners.Store(new([]*listener))
	return t
}

// Acceptor returns the acceptor of all addresses and ports without a listener.
func (t *Table) Acceptor() *Acceptor { return t.all }

// Open makes the acceptor of all addresses take SYNs before anybody has asked it
// for a stream: whoever was handed it will, and a client may be faster.
func (t *Table) Open() { t.all.asked.Store(true) }

// HandleSYN takes in a SYN that no endpoint claims, or refuses and counts it;
// false says that nobody listens, and that nothing was done. It copies what it
// keeps, and it never waits, but it calls Config.Admit.
func (t *Table) HandleSYN(p *packet.Packet) (handled bool) {
	if found, again, how := t.syns.find(p); found {
		if again {
			t.refuse(p, drop.RejectedAgain, how)
		}
		return true
	}
	return t.acceptorOf(p.DstAddrPort()).admit(p)
}

// HandleStray takes a segment without SYN that no endpoint claims, if it ends a
// request: a client that gives up may reset a connection that it has not got yet.
func (t *Table) HandleStray(p *packet.Packet) (handled bool) {
	if p.Flags&packet.RST == 0 {
		return false
	}
	r := t.syns.resetBy(p)
	if r == nil {
		return false
	}
	t.env.Drops.Add(drop.HandshakeFailed)
	if s := r.stream; s != nil {
		s.abandon(errClientReset)
	}
	return true
}

// refuse counts a SYN and answers it.
func (t *Table) refuse(p *packet.Packet, c drop.Cause, how answer) bool {
	t.env.Drops.Add(c)
	t.env.sendAnswer(p, how)
	return true
}

// acceptorOf returns who takes SYNs for dst: the listener of that very address,
// else the one of all own addresses, else the acceptor of all.
func (t *Table) acceptorOf(dst netip.AddrPort) *Acceptor {
	found := t.all
	for _, l := range *t.listeners.Load() {
		if l.addr.Port() != dst.Port() {
			continue
		}
		if l.addr.Addr() == dst.Addr() {
			return l.a
		}
		if coversFamily(l.addr.Addr(), dst.Addr()) && (len(t.own) == 0 || slices.Contains(t.own, dst.Addr())) {
			found = l.a
		}
	}
	return found
}

// coversFamily reports whether a stands for all addresses of b's family.
func coversFamily(a, b netip.Addr) bool {
	return !a.IsValid() || a.IsUnspecified() && (!b.IsValid() || a.Is4() == b.Is4())
}

// Listen opens addr. An invalid address is all own addresses of both families,
// an unspecified one all of its family; port 0 is a free one from 49152 on. The
// handshake comes first, whatever Config.LazyHandshake says. Errors match
// EADDRINUSE, EADDRNOTAVAIL or net.ErrClosed.
func (t *Table) Listen(addr netip.AddrPort) (*Acceptor, error) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	if a := addr.Addr(); a.IsValid() && !a.IsUnspecified() && len(t.own) > 0 && !slices.Contains(t.own, a) {
		return nil, t.listenError(addr, syscall.EADDRNOTAVAIL)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return nil, t.listenError(addr, t.closed)
	}
	if addr.Port() == 0 {
		free := t.freePortLocked(addr.Addr())
		if free == 0 {
			return nil, t.listenError(addr, syscall.EADDRINUSE)
		}
		addr = netip.AddrPortFrom(addr.Addr(), free)
	} else if t.takenLocked(addr) {
		return nil, t.listenError(addr, syscall.EADDRINUSE)
	}
	a := newAcceptor(t, listenAddr(addr), false)
	a.asked.Store(true) // as in any system, clients may connect before the first Accept
	all := append(slices.Clone(*t.listeners.Load()), &listener{addr, a})
	t.listeners.Store(&all)
	return a, nil
}

const opListen = "listen"

func (t *Table) listenError(addr netip.AddrPort, err error) error {
	return &net.OpError{Op: opListen, Net: network, Addr: listenAddr(addr), Err: err}
}

// listenAddr is addr as the net package would show it.
func listenAddr(addr netip.AddrPort) net.Addr {
	if !addr.Addr().IsValid() {
		return &net.TCPAddr{IP: net.IPv6zero, Port: int(addr.Port())}
	}
	return net.TCPAddrFromAddrPort(addr)
}

// The ports from which one is chosen (RFC 6335, 6).
const (
	firstFreePort = 49152
	lastFreePort  = 65535
)

// freePortLocked returns the first port that nobody listens on at addr, or 0.
func (t *Table) freePortLocked(addr netip.Addr) uint16 {
	for p := firstFreePort; p <= lastFreePort; p++ {
		if !t.takenLocked(netip.AddrPortFrom(addr, uint16(p))) {
			return uint16(p)
		}
	}
	return 0
}

// takenLocked reports whether a listener overlaps with addr.
func (t *Table) takenLocked(addr netip.AddrPort) bool {
	for _, l := range *t.listeners.Load() {
		a, b := l.addr.Addr(), addr.Addr()
		if l.addr.Port() == addr.Port() && (a == b || coversFamily(a, b) || coversFamily(b, a)) {
			return true
		}
	}
	return false
}

// forget frees the port of a, if it is a listener.
func (t *Table) forget(a *Acceptor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(*t.listeners.Load()), func(l *listener) bool { return l.a == a })
	t.listeners.Store(&rest)
}

// StopAccepting closes the acceptor and all listeners, as Acceptor.Close does.
func (t *Table) StopAccepting() {
	_ = t.all.Close()
	for _, l := range *t.listeners.Load() {
		_ = l.a.Close()
	}
}

// Close ends everything because the stack ended with cause, which may be nil:
// every acceptor, every handshake, every request. It waits until no goroutine of
// the table is left; further calls wait for the first.
func (t *Table) Close(cause error) {
	t.closes.Do(func() {
		ended := error(net.ErrClosed)
		if cause != nil {
			ended = endedError{cause}
		}
		t.mu.Lock()
		t.closed = ended
		all := *t.listeners.Load()
		t.listeners.Store(new([]*listener))
		t.mu.Unlock()
		t.syns.close(ended) // first: what is queued need not be answered any more
		t.all.end(ended)
		for _, l := range all {
			l.a.end(ended)
		}
		t.owned.Wait()
		t.syns.answers.Wait()
		t.syns.sweeps.Wait()
		close(t.gone)
	})
	<-t.gone
}

// TableStats is the account of a Table at one moment. In each part, places acquired
// are those released and those held.
type TableStats struct {
	Handshakes limit.Stats // SYNs being decided or answered
	Streams    limit.Stats // accepted streams, open or being decided
	Queue      limit.Stats // places in the queue of the acceptor of all addresses
	Remembered int         // rejections that are remembered
	Listeners  int
}

// Stats returns the account.
func (t *Table) Stats() TableStats {
	return TableStats{
		Handshakes: t.syns.handshakes.Stats(),
		Streams:    t.syns.streams.Stats(),
		Queue:      t.all.places.Stats(),
		Remembered: t.syns.rememberedNow(),
		Listeners:  len(*t.listeners.Load()),
	}
}

package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"l3extract/icmp"
	"l3extract/internal/budget"
	"l3extract/internal/door"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/group"
	"l3extract/internal/link"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
	"l3extract/internal/raw"
	"l3extract/l3conn"
	"l3extract/tcp"
	"l3extract/udp"
)

// ErrRunning is returned by a second call of Run.
var ErrRunning = errors.New("stack: Run was called before")

// Stack turns the packets of one conn into streams and sockets, and back. New
// makes one, Run is it. All methods may be called at once by anyone.
type Stack struct {
	cfg    Config
	door   *door.Door
	drops  drop.Counters
	budget *budget.Budget
	flows  *flow.Registry
	link   *link.Link
	tcp    tcpSide
	udp    udpSide
	icmp   icmpSide
	raw    *raw.Table
	groups *group.Member

	fragments reassembly

	// engine is built by Run; started is closed once it may be used.
	engine  atomic.Pointer[netstack.Shards]
	started chan struct{}

	// closing is closed when the end begins, done when Run has returned or
	// never will. cause is set before closing is closed.
	closing chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	run   bool  // Run was called
	cause error // why the Stack ends; nil while it lives
	// abandoned has a channel for each goroutine left in a call of the conn that
	// nothing ends; it is closed when the goroutine ends after all.
	abandoned []<-chan struct{}

	// gate is held while packets are delivered; shut is set under it, and no
	// packet is touched after.
	gate sync.Mutex
	shut bool

	// The reader's scratch, guarded by gate.
	packets  [deliverBatch]packet.Packet
	segments [deliverBatch]*packet.Packet
	whole    packet.Packet
	vouched  bool // of the packet that the engine is looking at, the conn has vouched for its checksum
}

// New returns a Stack on conn, which nothing has touched yet. A nil cfg is the
// default; a wrong value is one error that names the field. The conn belongs to
// the Stack until Run returns.
func New(conn l3conn.Conn, cfg *Config) (*Stack, error) {
	c, err := cfg.resolve(conn)
	if err != nil {
		return nil, err
	}
	s := &Stack{
		cfg:     c,
		budget:  c.memory(),
		flows:   flow.NewRegistry(c.Trace),
		started: make(chan struct{}),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	s.door = door.New(door.Config{Sources: c.Sources, Own: c.Addrs, VerifyChecksums: true, IGMP: len(c.Groups) > 0})
	s.link = link.New(link.Config{Conn: conn, MTU: c.MTU, Drops: &s.drops, Granted: s.granted, Buffer: netstack.NewBuffer})
	if d, ok := c.Resolver.(*dnsResolver); ok {
		s.cfg.Resolver = d.bind(s)
	}
	s.icmp.init(s)
	s.groups = s.newGroups()
	s.raw = raw.NewTable(raw.Env{
		Out: s.link, Drops: &s.drops, Budget: s.budget, MTU: c.MTU, Uint32: s.cfg.uint32(),
		Source: func(to netip.Addr) (netip.Addr, error) { return s.local(netip.AddrPortFrom(to, 0)) },
	})
	s.fragments.init(s)
	if err := s.initUDP(); err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	s.initTCP()
	return s, nil
}

// granted is how many bytes all send buffers and write buffers hold.
func (s *Stack) granted() int64 {
	u := s.budget.Snapshot()
	return u.Send + u.WriteBuffer
}

// TCP returns the acceptor of TCP streams, a net.Listener. From its first call on
// SYNs wait in the acceptor's queue, as they do after net.Listen; before it, TCP
// that no Listen serves is refused (RST).
func (s *Stack) TCP() *tcp.Acceptor {
	s.tcp.table.Open()
	return s.tcp.acceptor
}

// UDP returns the acceptor of UDP sockets. From its first call on datagrams wait in
// its queue; before it, UDP that no ListenPacket serves is refused (port
// unreachable).
func (s *Stack) UDP() *udp.Acceptor {
	s.udp.table.Open()
	return s.udp.acceptor
}

// ICMP returns the acceptor of pings to foreign addresses. From its first call on they
// wait in its queue, if Config.ICMP.Echo is EchoForward; before it they are not
// answered. Whoever calls it answers them, or nobody does.
func (s *Stack) ICMP() *icmp.Acceptor {
	s.icmp.acceptor.Open()
	return s.icmp.acceptor
}

// Addrs returns the Stack's own addresses.
func (s *Stack) Addrs() []netip.Prefix { return append([]netip.Prefix(nil), s.cfg.Addrs...) }

// MTU returns the size in bytes of the largest packet sent.
func (s *Stack) MTU() int { return s.cfg.MTU }

// end begins the end for this cause; only the first one counts.
func (s *Stack) end(cause error) {
	s.mu.Lock()
	first, run := s.cause == nil, s.run
	if first {
		s.cause = cause
		close(s.closing)
	}
	s.mu.Unlock()
	if first && !run { // no Run will do it
		s.stopSides()
		close(s.done)
	}
}

// Err returns why the Stack ended or is ending, nil while it lives. It matches
// net.ErrClosed, and the conn's error or the context's cause if there was one.
func (s *Stack) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Done is closed when the Stack begins to end.
func (s *Stack) Done() <-chan struct{} { return s.closing }

// errStackClosed is the cause of an end by Close.
var errStackClosed = fmt.Errorf("%w: stack closed: %w", flow.Shutdown, net.ErrClosed)

// Close resets every stream and ends the Stack at once. It returns when no
// goroutine is left and may be called any number of times. A callback of the Config must
// not call it, because Close waits for callbacks.
func (s *Stack) Close() error {
	s.end(errStackClosed)
	<-s.done
	return nil
}

// ready waits until the Stack runs. It fails with the cause of its end.
func (s *Stack) ready(ctx context.Context) (*netstack.Shards, error) {
	select {
	case <-s.started:
	case <-s.closing:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case <-s.closing:
		return nil, s.Err()
	default:
		return s.engine.Load(), nil
	}
}

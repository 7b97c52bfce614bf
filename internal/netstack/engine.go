package netstack

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gipv4 "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gipv6 "gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"l3extract/internal/budget"
	"l3extract/internal/link"
	"l3extract/internal/packet"
)

// nicID is the one network interface of an engine.
const nicID gtcpip.NICID = 1

// Limits of the buffers, in bytes. The engine derives the window scale of a
// connection from maxBuffer at its handshake, so no buffer grows beyond it.
const (
	minBuffer = 4 << 10
	maxBuffer = 8 << 20 // two bandwidth-delay products of 200 ms at 160 Mbit/s
)

// Handler is what the engine asks of the stack above it. The methods are called
// on the goroutine that delivers packets and must not wait.
type Handler interface {
	// SYN is told of a connection request that no endpoint of the engine
	// claims. p is valid during the call.
	SYN(p *packet.Packet)
	// Stray is told of any other TCP segment that belongs to no endpoint.
	Stray(p *packet.Packet)
	// Reassembled is given a whole packet made from fragments, or one whose
	// options or extension headers the engine has walked, unless it is TCP that
	// an endpoint claims.
	Reassembled(raw []byte)
}

// Config says what an engine is made of.
type Config struct {
	Link    *link.Link
	Handler Handler
	Budget  *budget.Budget // counts the memory of connections; nil: nobody does

	Congestion    string        // "reno" or "cubic"
	RACK          bool          // RACK loss detection; false is SACK alone
	TimeWait      time.Duration // how long TIME-WAIT lasts
	FinWait2      time.Duration // how long a closed endpoint waits for the peer's FIN
	MaxRetries    uint32        // retransmissions before a connection ends with ETIMEDOUT
	ReceiveBuffer int           // bytes that a new endpoint starts with
	SendBuffer    int           // bytes that a new endpoint starts with

	Clock  Clock     // nil: the system's
	Random io.Reader // nil: the system's; it must be safe for concurrent use
}

// Engine is one instance of gVisor's stack with one interface. Its methods may
// be called at once by anyone, but for the Deliver methods, which belong to the
// goroutine that reads packets.
type Engine struct {
	cfg      Config
	stack    *gstack.Stack
	dispatch [2]gstack.TransportDispatcher // v4, v6: the engine's own, unwrapped
	flows    *flowTable
	ports    *ports
	shard    shard
	workers  int           // goroutines of the engine's TCP for incoming segments
	late     atomic.Uint64 // reassemblies that ran out of time
	noMemory atomic.Uint64 // segments for which there was none
	port     *linkEndpoint
	acks     acks

	incoming     queuer         // the engine's TCP
	greeting     chan struct{}  // holds one wake-up of the greeter
	greets       sync.WaitGroup // the greeter
	answererList []*answerer    // its own

	mu        sync.Mutex
	answerers map[answererKey]*answerer
	answers   map[tuple]*answer
	doomed    map[tuple]int // given up before there was an endpoint; how often it was looked for
	answering atomic.Bool   // there are answers

	endings sync.Mutex // a leaf
	ended   []ending

	// life ends when Close begins. calls are Dials in progress; no call and no answer
	// is added, under mu, once life has ended.
	life  context.Context
	end   context.CancelFunc
	calls sync.WaitGroup

	// current is the packet that is being delivered, for the default handler
	// that the engine calls in between. Only the delivering goroutine uses it.
	current *packet.Packet
}

// New builds an engine; it starts goroutines, which Close ends.
func New(cfg Config) (*Engine, error) {
	return newEngine(cfg, shard{}, &ports{seed: maphash.MakeSeed()})
}

// newEngine builds one of several engines, which share ports.
func newEngine(cfg Config, place shard, free *ports) (*Engine, error) {
	if cfg.Budget == nil {
		cfg.Budget = budget.New(0)
	}
	e := &Engine{
		cfg:       cfg,
		flows:     newFlowTable(cfg.Budget),
		ports:     free,
		shard:     place,
		workers:   runtime.GOMAXPROCS(0), // as the engine's TCP does at its start
		greeting:  make(chan struct{}, 1),
		answerers: make(map[answererKey]*answerer),
		answers:   make(map[tuple]*answer),
		doomed:    make(map[tuple]int),
	}
	e.life, e.end = context.WithCancel(context.Background())
	opts := gstack.Options{
		NetworkProtocols: []gstack.NetworkProtocolFactory{
			e.wrap(gipv4.NewProtocol, 0), e.wrap(gipv6.NewProtocol, 1),
		},
		TransportProtocols: []gstack.TransportProtocolFactory{gtcp.NewProtocol},
		// With HandleLocal every packet would look as if it came from us,
		// because all addresses count as assigned.
		HandleLocal: false,
	}
	if cfg.Congestion == "cubic" {
		opts.TransportProtocols[0] = gtcp.NewProtocolCUBIC
	}
	opts.Clock = patientClock{gtcpip.NewStdClock()}
	if cfg.Clock != nil {
		opts.Clock = patientClock{engineClock{cfg.Clock, cfg.Clock.Now()}}
	}
	if cfg.Random != nil {
		opts.SecureRNG = cfg.Random
		opts.RandSource = newSource(cfg.Random)
	}
	e.stack = gstack.New(opts)
	if err := e.configure(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// configure sets what must be set before the first packet: the engine reads
// some of it without synchronisation.
func (e *Engine) configure() error {
	timeWait := gtcpip.TCPTimeWaitTimeoutOption(e.cfg.TimeWait)
	finWait2 := gtcpip.TCPLingerTimeoutOption(e.cfg.FinWait2)
	maxRetries := gtcpip.TCPMaxRetriesOption(e.cfg.MaxRetries)
	sack := gtcpip.TCPSACKEnabled(true)
	recovery := gtcpip.TCPRecovery(0)
	if e.cfg.RACK {
		recovery = gtcpip.TCPRACKLossDetection
	}
	// Receive moderation stays "on" so that the window scale is derived from
	// maxBuffer; nobody drives the engine's own tuning, ours is in package tcp.
	moderate := gtcpip.TCPModerateReceiveBufferOption(true)
	send := gtcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: e.cfg.SendBuffer, Max: maxBuffer}
	receive := gtcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: e.cfg.ReceiveBuffer, Max: maxBuffer}
	for _, opt := range []gtcpip.SettableTransportProtocolOption{
		&timeWait, &finWait2, &maxRetries, &sack, &recovery, &moderate, &send, &receive,
	} {
		if err := e.stack.SetTransportProtocolOption(gtcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("netstack: option %T: %s", opt, err)
		}
	}
	e.stack.SetTransportProtocolHandler(gtcp.ProtocolNumber, e.unclaimed)
	e.incoming = e.stack.TransportProtocolInstance(gtcp.ProtocolNumber).(queuer) // as its demultiplexer does

	e.acks = acks{link: e.cfg.Link, hold: ackHold}
	e.port = &linkEndpoint{engine: e, link: e.cfg.Link}
	if err := e.stack.CreateNIC(nicID, e.port); err != nil {
		return fmt.Errorf("netstack: interface: %s", err)
	}
	// Any destination is ours, and we answer from any address.
	if err := e.stack.SetPromiscuousMode(nicID, true); err != nil {
		return fmt.Errorf("netstack: promiscuous mode: %s", err)
	}
	if err := e.stack.SetSpoofing(nicID, true); err != nil {
		return fmt.Errorf("netstack: spoofing: %s", err)
	}
	// One address that matches everything keeps the IPv4 endpoint from scanning
	// all its addresses for every packet and route (quadratic otherwise). It is
	// honoured because the endpoint believes it sits on a loopback interface,
	// see loopbackInterface.
	if err := e.stack.AddProtocolAddress(nicID, gtcpip.ProtocolAddress{
		Protocol:          gipv4.ProtocolNumber,
		AddressWithPrefix: gtcpip.AddressWithPrefix{Address: gtcpip.AddrFrom4([4]byte{}), PrefixLen: 0},
	}, gstack.AddressProperties{PEB: gstack.NeverPrimaryEndpoint}); err != nil {
		return fmt.Errorf("netstack: address 0.0.0.0/0: %s", err)
	}
	e.stack.SetRouteTable([]gtcpip.Route{
		{Destination: gheader.IPv4EmptySubnet, NIC: nicID},
		{Destination: gheader.IPv6EmptySubnet, NIC: nicID},
	})
	return nil
}

// Close resets every endpoint, ends the engine's goroutines and waits for them.
// Nobody may deliver packets any more.
func (e *Engine) Close() {
	e.mu.Lock()
	if e.life.Err() != nil {
		e.mu.Unlock()
		return
	}
	e.end() // ends Dials, which may not have an endpoint yet
	e.mu.Unlock()
	e.greets.Wait()
	e.endAnswers()
	e.stack.Close()
	e.calls.Wait()
	// What a call established behind Close's back would be waited for for ever.
	for _, ep := range e.stack.RegisteredEndpoints() {
		ep.Abort()
	}
	e.stack.Wait()
	e.acks.close()
	e.flows.clear() // of a SYN-ACK that left after its answer had ended
}

// Undelivered returns how many segments the engine has refused, because the
// receive buffer of their endpoint was full.
func (e *Engine) Undelivered() uint64 { return e.stack.Stats().DroppedPackets.Value() }

// forget drops what the engine keeps for the filter of ICMP errors.
func (e *Engine) forget(ep *Endpoint) {
	if ep.flow != nil {
		e.flows.remove(tuple{ep.local, ep.remote}, ep.flow)
	}
}

func addressOf(a netip.Addr) gtcpip.Address {
	if a.Is4() {
		return gtcpip.AddrFrom4(a.As4())
	}
	return gtcpip.AddrFrom16(a.As16())
}

func fullAddressOf(a netip.AddrPort) gtcpip.FullAddress {
	return gtcpip.FullAddress{NIC: nicID, Addr: addressOf(a.Addr()), Port: a.Port()}
}

func protocolOf(a netip.Addr) gtcpip.NetworkProtocolNumber {
	if a.Is4() {
		return gipv4.ProtocolNumber
	}
	return gipv6.ProtocolNumber
}

// engine returns the name that the engine gives to the connection.
func (t tuple) engine() gstack.TransportEndpointID {
	return gstack.TransportEndpointID{
		LocalPort: t.local.Port(), LocalAddress: addressOf(t.local.Addr()),
		RemotePort: t.remote.Port(), RemoteAddress: addressOf(t.remote.Addr()),
	}
}

func tupleOf(id gstack.TransportEndpointID) tuple {
	local, _ := netip.AddrFromSlice(id.LocalAddress.AsSlice())
	remote, _ := netip.AddrFromSlice(id.RemoteAddress.AsSlice())
	return tuple{netip.AddrPortFrom(local, id.LocalPort), netip.AddrPortFrom(remote, id.RemotePort)}
}

// FragmentsRefused returns how many fragments the engine's reassembly has refused.
func (e *Engine) FragmentsRefused() uint64 {
	return e.stack.Stats().IP.MalformedFragmentsReceived.Value()
}

// ReassembliesLate returns how many packets were given up for fragments that did
// not come, as far as the engine says so: it does when the first one had come.
func (e *Engine) ReassembliesLate() uint64 { return e.late.Load() }

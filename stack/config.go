package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/flow"
	"l3extract/internal/limit"
	"l3extract/internal/netstack"
	"l3extract/l3conn"
	"l3extract/tcp"
	"l3extract/udp"
)

// Limits of Config.MTU in bytes: the least that IPv4 (RFC 791) and IPv6 (RFC
// 8200) allow, and the longest IP packet.
const (
	minMTU4 = 68
	minMTU6 = 1280
	maxMTU  = 65535
)

// DefaultMemoryLimit is the default of Config.MemoryLimit in bytes.
const DefaultMemoryLimit = 1 << 30

// Config says how a Stack behaves. nil is fine; the zero value of each field is
// its default, and a negative value switches off what can be switched off. New
// copies it: neither side changes it afterwards.
type Config struct {
	// Addrs are the Stack's own addresses with the prefix of their network.
	// They are needed for what begins inside the Stack (DialContext, Listen,
	// ListenPacket) and are answered when pinged; streams and sockets of
	// clients need none. Default: none.
	Addrs []netip.Prefix

	// Groups are multicast groups that the Stack is a member of while it runs: it
	// says so to the routers behind the conn (IGMPv3 and MLDv2 with their forerunners),
	// and datagrams to them go to Sockets whatever udp.Config.Multicast says. At most
	// 60. Default: none.
	Groups []netip.Addr

	// MTU is the size in bytes of the largest packet sent, 68 to 65535, for
	// IPv6 at least 1280: with less, IPv6 packets are dropped and counted. Default:
	// what the conn says, else 1500.
	MTU int

	// TCP and UDP say how streams and sockets behave.
	TCP tcp.Config
	UDP udp.Config

	// ICMP says what is answered.
	ICMP ICMPConfig

	// Sources are the networks whose packets are taken, as WireGuard's
	// AllowedIPs; packets of any other source are dropped and counted.
	// Default: all.
	Sources []netip.Prefix

	// SourceKey says which clients count as one for the limits per source. It
	// must be a pure function. Default: an IPv4 address, an IPv6 /64.
	SourceKey func(netip.Addr) netip.Prefix

	// MemoryLimit bounds, in bytes, what the Stack may hold: data that was received
	// and not read, or sent and not acknowledged, with the memory that it pins, what
	// waits in write buffers, datagram queues, the filtering of udp.Sockets and for
	// AcceptEcho, fragments, which need 4 MiB for each IP version while there are
	// any, and 8 KiB for each stream and 2 for each socket. At 80 % buffers stop
	// growing and new streams start with 8 KiB. At 100 % writers wait, new streams
	// are not let in, and flows are reset with the cause Memory, those of the source
	// that holds most, in which most is stuck for longest, until 90 % are left. See
	// Stats.Memory. What the process needs beside it depends on the garbage collector:
	// debug.SetMemoryLimit. Default: 1 GiB. Negative: no limit.
	MemoryLimit int64

	// Shards is how many engines share the TCP connections; the 4-tuple of a
	// connection says whose it is. Engines share no locks, but one goroutine reads
	// the conn for all of them, and on two processors one engine is as fast as
	// several: measure before you use it. Each costs some 45 KiB and as many
	// goroutines as GOMAXPROCS was when Run began (Stats.Workers). Default: 1, at
	// most 64.
	Shards int

	// Resolver turns names into addresses for DialContext; *net.Resolver and
	// the result of DNS are Resolvers. Default: nil, names are refused, because
	// the host's resolver would ask outside the packet conn.
	Resolver Resolver

	// Trace is told of flows. Default: nobody.
	Trace Trace

	// Logger gets what an operator should know: the end of the conn, sockets
	// left behind. Default: nil, silence.
	Logger *slog.Logger

	// Clock and Rand replace the system's time and random numbers, for tests.
	// Rand must be safe for concurrent use. Default: nil, the system's.
	Clock Clock
	Rand  io.Reader
}

// ICMPConfig says what the Stack does with pings and errors.
type ICMPConfig struct {
	// Echo says who answers pings to addresses that are not the Stack's own.
	// Pings to its own addresses are always answered. Default: EchoForward.
	Echo Echo

	// EchoQueue is how many pings may wait in the acceptor of Stack.ICMP; further
	// ones are dropped and counted. Default: icmp.DefaultQueue, 128.
	EchoQueue int

	// Transparent makes the Stack no hop on the way of a packet. Else a packet to
	// a foreign address whose TTL or hop limit ends here, because it came with 1 or
	// 0, is answered with "time exceeded" by the Stack's own address, as a router
	// does; traceroute then shows the Stack as its first hop. A Stack without an
	// address of the packet's family in Addrs is transparent in that family.
	// Default: false.
	Transparent bool
}

// Echo is a way to treat pings to foreign addresses.
type Echo uint8

const (
	// EchoForward gives them to the acceptor of Stack.ICMP, from which
	// adapters/forward takes them to ping their targets. As long as nobody has called
	// Stack.ICMP, and where whoever did may not send pings, they are treated as by
	// EchoOff.
	EchoForward Echo = iota
	// EchoLocal answers them all in the name of their destination, which may be
	// dead.
	EchoLocal
	// EchoOff leaves them unanswered and counts them: no answer is better than
	// one for a host that may be dead.
	EchoOff
)

// Resolver finds the addresses of a host name. Network is "ip", "ip4" or "ip6".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Clock is where a Stack takes its time from.
type Clock = netstack.Clock

// Timer is a pending call of a Clock.
type Timer = netstack.Timer

// Trace holds callbacks about flows; each may be nil.
type Trace = flow.Trace

// Flow is the account of one flow at one moment.
type Flow = flow.Info

// FlowID numbers the flows of one Stack, from 1.
type FlowID = flow.ID

// Cause says why a flow ended. It is an error, found with errors.As.
type Cause = flow.Cause

// The causes of a flow's end.
const (
	Closed          = flow.Closed
	Reset           = flow.Reset
	ResetByClient   = flow.ResetByClient
	ResetByUpstream = flow.ResetByUpstream
	Idle            = flow.Idle
	Evicted         = flow.Evicted
	Limit           = flow.Limit
	Memory          = flow.Memory
	Policy          = flow.Policy
	DialFailed      = flow.DialFailed
	Undelivered     = flow.Undelivered
	TimedOut        = flow.TimedOut
	Ended           = flow.Shutdown
	ConnFailed      = flow.ConnFailed
	Killed          = flow.Killed
	PathLost        = flow.PathLost
	Loop            = flow.Loop
)

// validate refuses what makes no sense; conn is what the Stack will run on.
func (c *Config) validate(caps l3conn.Caps) error {
	var has6 bool
	for i, p := range c.Addrs {
		a := p.Addr()
		switch {
		case !p.IsValid(), a.Zone() != "", a.Is4In6():
			return fmt.Errorf("stack: Config.Addrs[%d] is %v, must be an address with its prefix length", i, p)
		case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
			return fmt.Errorf("stack: Config.Addrs[%d] is %v, must be an address that a host can have", i, p)
		}
		has6 = has6 || a.Is6()
	}
	if err := validateGroups(c.Groups); err != nil {
		return err
	}
	has6 = has6 || slices.ContainsFunc(c.Groups, netip.Addr.Is6)
	for i, p := range c.Sources {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("stack: Config.Sources[%d] is %v, must be a network", i, p)
		}
	}
	least := minMTU4
	if has6 {
		least = minMTU6
	}
	if c.MTU != 0 && (c.MTU < least || c.MTU > maxMTU) {
		return fmt.Errorf("stack: Config.MTU is %d, must be %d to %d", c.MTU, least, maxMTU)
	}
	if n := caps.MTU(); n != 0 && c.MTU > n {
		return fmt.Errorf("stack: Config.MTU is %d, but the conn carries %d", c.MTU, n)
	} else if n != 0 && c.MTU == 0 && (n < least || n > maxMTU) {
		return fmt.Errorf("stack: the conn's MTU is %d, must be %d to %d", n, least, maxMTU)
	}
	if c.ICMP.Echo > EchoOff {
		return fmt.Errorf("stack: Config.ICMP.Echo is %d, must be EchoForward, EchoLocal or EchoOff", c.ICMP.Echo)
	}
	if c.ICMP.EchoQueue < 0 || c.ICMP.EchoQueue > maxEchoQueue {
		return fmt.Errorf("stack: Config.ICMP.EchoQueue is %d, must be 0 to %d", c.ICMP.EchoQueue, maxEchoQueue)
	}
	if c.Shards < 0 || c.Shards > maxShards {
		return fmt.Errorf("stack: Config.Shards is %d, must be 0 to %d", c.Shards, maxShards)
	}
	if c.MemoryLimit > 0 && c.MemoryLimit < minMemory {
		return fmt.Errorf("stack: Config.MemoryLimit is %d, must be at least %d", c.MemoryLimit, int64(minMemory))
	}
	return nil
}

// maxEchoQueue bounds what pings of 64 KiB can hold to 64 MiB.
const maxEchoQueue = 1024

// maxShards bounds the goroutines of engines; more shards than processors bring nothing.
const maxShards = 64

// minMemory is room for a handful of streams; less is surely a mistake.
const minMemory = 256 << 10

// resolve checks c, which may be nil, and fills its defaults in.
func (c *Config) resolve(conn l3conn.Conn) (Config, error) {
	if conn == nil {
		return Config{}, errors.New("stack: New needs a conn, got nil")
	}
	var r Config
	if c != nil {
		r = *c
	}
	caps := l3conn.Probe(conn)
	if err := r.validate(caps); err != nil {
		return Config{}, err
	}
	r.Addrs = append([]netip.Prefix(nil), r.Addrs...)
	r.Sources = append([]netip.Prefix(nil), r.Sources...)
	r.Groups = append([]netip.Addr(nil), r.Groups...)
	var err error
	if r.TCP, err = r.TCP.Resolved(); err != nil {
		return Config{}, fmt.Errorf("stack: %w", err)
	}
	if r.MTU == 0 {
		r.MTU = caps.MTU()
	}
	if r.MTU == 0 {
		r.MTU = l3conn.DefaultMTU
	}
	if r.Shards == 0 {
		r.Shards = 1
	}
	if r.SourceKey == nil {
		r.SourceKey = limit.DefaultKey
	}
	if r.MemoryLimit == 0 {
		r.MemoryLimit = DefaultMemoryLimit
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	if r.Clock == nil {
		r.Clock = systemClock{}
	}
	return r, nil
}

// memory returns the budget of a Stack so configured.
func (c *Config) memory() *budget.Budget { return budget.New(c.MemoryLimit) }

// uint32 returns the source of random numbers, nil for the runtime's.
func (c *Config) uint32() func() uint32 {
	if c.Rand == nil {
		return nil
	}
	return func() uint32 {
		var b [4]byte
		_, _ = io.ReadFull(c.Rand, b[:]) // a reader that fails gives a fixed number: it is for tests
		return binary.NativeEndian.Uint32(b[:])
	}
}

// systemClock is the host's time.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

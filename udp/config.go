package udp

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Mapping says which datagrams share a Socket (RFC 4787, section 4.1).
type Mapping uint8

// The mappings. The table of the package comment shows what each means for the
// addresses of a Socket.
const (
	// PerSource makes one Socket for each client address and port, whatever it
	// talks to: endpoint-independent mapping, what games, WebRTC and QUIC need.
	PerSource Mapping = iota
	// PerFlow makes one Socket for each pair of client and destination. Such a
	// Socket has a connected view, see [Socket.Conn].
	PerFlow
	// PerDestination makes one Socket for each address and port dialled, with
	// many clients on it: a server's view.
	PerDestination
)

// String returns the constant's name.
func (m Mapping) String() string {
	switch m {
	case PerSource:
		return "PerSource"
	case PerFlow:
		return "PerFlow"
	case PerDestination:
		return "PerDestination"
	}
	return fmt.Sprintf("Mapping(%d)", uint8(m))
}

// Filtering says who may send to a client (RFC 4787, section 5). It binds what
// the application sends from a PerSource Socket (the source it speaks as) and
// from a PerDestination Socket (the client it speaks to); a PerFlow Socket has
// no choice to begin with.
type Filtering uint8

// The filterings.
const (
	// EndpointIndependent lets any address send to the client.
	EndpointIndependent Filtering = iota
	// AddressDependent lets only the addresses send that the client has sent
	// to, from any of their ports.
	AddressDependent
	// AddressAndPortDependent lets only those addresses and ports send that the
	// client has sent to.
	AddressAndPortDependent
)

// String returns the constant's name.
func (f Filtering) String() string {
	switch f {
	case EndpointIndependent:
		return "EndpointIndependent"
	case AddressDependent:
		return "AddressDependent"
	case AddressAndPortDependent:
		return "AddressAndPortDependent"
	}
	return fmt.Sprintf("Filtering(%d)", uint8(f))
}

// Verdict is the answer of Config.Admit.
type Verdict uint8

// The verdicts.
const (
	Accept Verdict = iota // make a Socket
	Refuse                // answer ICMP port unreachable; counted
	Drop                  // say nothing; counted
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Refuse:
		return "refuse"
	case Drop:
		return "drop"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Config says how UDP behaves. In every field zero is the default that its
// comment names, and a negative number means none or unlimited where the
// comment says so. It is copied; neither side changes it afterwards.
type Config struct {
	// Mapping says which datagrams share a Socket. Default: PerSource.
	Mapping Mapping

	// Filtering says who may send to a client. Default: EndpointIndependent.
	Filtering Filtering

	// IdleTimeout is how long an accepted Socket lives after its client last
	// sent something. Default: 5 minutes (RFC 4787 REQ-5). Negative: for ever.
	IdleTimeout time.Duration

	// OneShotTimeout is the idle timeout of a Socket on which the client has
	// sent one datagram and the application at most one: a question and its
	// answer. It never lengthens IdleTimeout. Default: 30 seconds. Negative: no
	// such difference.
	OneShotTimeout time.Duration

	// DNSIdleTimeout is the idle timeout of a Socket whose client has sent to
	// port 53 only. It never lengthens IdleTimeout. Default: 10 seconds.
	// Negative: no such difference.
	DNSIdleTimeout time.Duration

	// WriteRefreshes makes datagrams that the application sends to the client
	// count as activity too. Default: false, because a stranger could keep a
	// Socket alive for ever (RFC 4787 REQ-6).
	WriteRefreshes bool

	// MaxSockets limits the accepted Sockets. Beyond it a new one takes the
	// place of the least recently used Socket of the source that has most, which is
	// its own if that has as many.
	// Default: 32768. Negative: unlimited.
	MaxSockets int

	// MaxSocketsPerSource limits the accepted Sockets that one source has
	// opened; sources are told apart by the stack's SourceKey. Beyond it a new
	// one takes the place of that source's least recently used. Default:
	// unlimited, as MaxSockets is fair already. Negative: unlimited.
	MaxSocketsPerSource int

	// QueueBytes limits the received datagrams that wait in one Socket, counted
	// by the size of the buffers that hold them (512 B, 2, 16 or 64 KiB each).
	// A datagram that finds no room is dropped and counted, but an empty queue
	// takes any one. Default: 1 MiB. Negative: unlimited. See
	// [Socket.SetReadBuffer].
	QueueBytes int

	// QueueDatagrams limits the received datagrams that wait in one Socket in
	// the same way. Default: 1024. Negative: unlimited.
	QueueDatagrams int

	// TotalQueueBytes limits the sum of all Sockets' queues, counted as
	// QueueBytes is. A datagram beyond it is dropped and counted. Default: 64
	// MiB. Negative: unlimited.
	TotalQueueBytes int64

	// AcceptQueue limits the Sockets that wait to be accepted. A datagram that
	// would open one more is dropped and counted. Default: 1024. It cannot be
	// switched off.
	AcceptQueue int

	// Admit, if set, is asked before a datagram from src to dst opens a Socket.
	// It runs on the goroutine that reads packets and must not block. Default:
	// nil, which admits all.
	Admit func(src, dst netip.AddrPort) Verdict

	// Multicast hands datagrams to multicast and broadcast addresses to
	// Sockets like any others; nothing can be sent from such an address. Those
	// to stack.Config.Groups are so always.
	// Default: false, they are dropped and counted.
	Multicast bool

	// DontFragment sends IPv4 datagrams with the DF bit and refuses with
	// EMSGSIZE what does not fit the MTU, in IPv6 too. Default: false, too
	// large datagrams leave in fragments.
	DontFragment bool

	// HopLimit is the TTL or hop limit of what is sent, 1 to 255. Default: 64.
	HopLimit int

	// TrafficClass is the TOS byte or traffic class of what is sent, 0 to 255.
	// Default: 0.
	TrafficClass int
}

// defaults returns c with every zero field at its default.
func (c Config) defaults() Config {
	set(&c.IdleTimeout, 5*time.Minute)
	set(&c.OneShotTimeout, 30*time.Second)
	set(&c.DNSIdleTimeout, 10*time.Second)
	set(&c.MaxSockets, 32768)
	set(&c.MaxSocketsPerSource, -1)
	set(&c.QueueBytes, 1<<20)
	set(&c.QueueDatagrams, 1024)
	set(&c.TotalQueueBytes, 64<<20)
	set(&c.AcceptQueue, 1024)
	set(&c.HopLimit, 64)
	return c
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// validate reports the first field of c, taken before defaults, whose value
// makes no sense.
func (c Config) validate() error {
	switch {
	case c.Mapping > PerDestination:
		return invalid("Mapping", c.Mapping, "is no mapping")
	case c.Filtering > AddressAndPortDependent:
		return invalid("Filtering", c.Filtering, "is no filtering")
	case c.AcceptQueue < 0:
		return invalid("AcceptQueue", c.AcceptQueue, "is negative; the queue cannot be switched off")
	case c.AcceptQueue > math.MaxUint16+1:
		return invalid("AcceptQueue", c.AcceptQueue, "is above 65536")
	case c.HopLimit < 0 || c.HopLimit > math.MaxUint8:
		return invalid("HopLimit", c.HopLimit, "is outside 1..255")
	case c.TrafficClass < 0 || c.TrafficClass > math.MaxUint8:
		return invalid("TrafficClass", c.TrafficClass, "is outside 0..255")
	}
	return nil
}

func invalid(field string, value any, why string) error {
	return fmt.Errorf("udp.Config.%s: %v %s", field, value, why)
}

// reached tells whether n things fill limit; a negative limit is none.
func reached[T int | int64](n, limit T) bool { return limit >= 0 && n >= limit }

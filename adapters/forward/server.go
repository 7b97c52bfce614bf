package forward

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// Server forwards the flows of stacks. Its fields must not be changed once it
// serves. The zero Server dials directly. All methods may be called at once.
type Server struct {
	// Dialer opens the upstream connections. Default: a direct.Dialer.
	Dialer Dialer

	// PacketListener opens the upstream sockets of UDP. Default: the Dialer if it
	// is a PacketListener; if it is none UDP is refused, because sending it
	// another way than TCP could leak it past a proxy.
	PacketListener PacketListener

	// PingListener opens the sockets of pings, when the first one comes, if the
	// stack's Config.ICMP.Echo is EchoForward. Default: the Dialer if it is a
	// PingListener; if it is none pings to other hosts are not answered. The same is so,
	// after one line to the Logger, where the process may not send pings, and on other
	// systems than Linux.
	PingListener PingListener

	// Policy says who may be reached. Default: the zero Policy.
	Policy Policy

	// Route, if set, is asked where a flow goes, before Policy: for every stream,
	// for every destination of a UDP socket, and for every ping (network "icmp",
	// ports 0; it must not wait). A UDP socket may forget what it was told of a
	// destination, and asks again. Replies of a UDP target or a pinged one appear to come
	// from the destination that stands for it. An error refuses the flow as Stream.Reject
	// does. It may be called at once by many goroutines and may wait, for its own flow
	// only: ctx ends with the flow and after DialTimeout. Default: nil, every flow goes
	// where it was sent.
	Route func(ctx context.Context, f outbound.Flow) (Target, error)

	// RouteNeverWaits says that Route finds its answer at once, without waiting for
	// anything but short locks, as a look at a table does. It is called by goroutines
	// then that all flows need, and spares a flow one of its own. Its ctx is the
	// session's.
	RouteNeverWaits bool

	// Sniff, if set, is asked of each stream, before Route, whether to look at what its
	// client says first, for the host name in a TLS ClientHello or an HTTP request; Route
	// finds that in Flow.Name. Such a stream is connected before it is dialled: what cannot
	// be dialled is reset, not refused. At most 4 KiB are looked at, for at most 300 ms,
	// after which Name is empty and the server may speak first; all of it goes to the
	// server. It must not wait. Default: nil, no stream.
	Sniff func(f outbound.Flow) bool

	// DialTimeout bounds one dial, names included. A client whose dial ran out of
	// time is left to its own time-out. Default: 10 s. Negative: no bound.
	DialTimeout time.Duration

	// IdleTimeout resets a TCP flow on which nothing moved either way for so long
	// (up to an eighth or 30 s more). Default: 2 h 4 min, the least that RFC 5382
	// allows. Negative: never.
	IdleTimeout time.Duration

	// HalfCloseTimeout takes the place of a longer IdleTimeout once one of the
	// two directions has ended. Default: 4 min. Negative: never.
	HalfCloseTimeout time.Duration

	// MaxDials bounds the dials in flight. For one more the oldest gives way, as if its
	// DialTimeout were over, if it has taken more than a second; else the stream is
	// refused (RST, cause limit). An eighth is kept for sources that hold fewer than 16, and
	// to others only dials of their own source give way. Default: 1024. Negative: no limit.
	MaxDials int

	// MaxDialsPerSource is the part of MaxDials that one client address (IPv6: one /64)
	// may have in flight. Default, and negative: no limit.
	MaxDialsPerSource int

	// MaxDialsPerDestination is the part of MaxDials that may be in flight to one
	// address and port. Default: 64. Negative: no limit.
	MaxDialsPerDestination int

	// PingTimeout is how long a target may take to answer a ping; later answers are
	// lost. Default: 10 s. Negative: as long as it likes.
	PingTimeout time.Duration

	// MaxPings bounds the pings in flight, MaxPingsPerSource those of one client
	// address (IPv6: of one /64). Further ones are dropped and counted. Default: 1024,
	// 128. Negative: no limit but 32768 in flight.
	MaxPings, MaxPingsPerSource int

	// OnDial, if set, is told of each dial of a stream and each upstream socket
	// that ended well or not. It runs with no lock held, on a goroutine that other
	// flows need too, and must return soon.
	OnDial func(Dial)

	// Logger gets, at level debug, why a flow was not served, and as a warning what is
	// never served. Default: nil, silence.
	Logger *slog.Logger

	// goroutines has every stream relayed the portable way, as tests want it.
	goroutines bool

	stats counters

	mu      sync.Mutex // before those of the sessions' tables of dials
	serving []*session
	limits  *Limits // nil: those of the fields
}

// Dial is the account of one dial.
type Dial struct {
	ID          stack.FlowID   // of the flow
	Network     string         // "tcp" or "udp"
	Source      netip.AddrPort // the client
	Destination netip.AddrPort // what it dialled; for udp of its first datagram
	Address     string         // what was dialled instead or as asked; for udp the local address of the socket
	Took        time.Duration
	Err         error // nil if it succeeded
}

// The defaults of Server's fields.
const (
	DefaultDialTimeout            = 10 * time.Second
	DefaultIdleTimeout            = 2*time.Hour + 4*time.Minute
	DefaultHalfCloseTimeout       = 4 * time.Minute
	DefaultMaxDials               = 1024
	DefaultMaxDialsPerDestination = 64
)

// Serve takes the streams and sockets of s, which may not be running yet, and
// forwards them until s has ended or ctx ends. Clients that come before it is
// called are refused, unless s.TCP and s.UDP were called before s runs: then they
// wait for it. When ctx ends it resets every flow it serves, with the cause
// shutdown. It returns once no goroutine of it is left: nil when s has ended, whose
// Run says why, else the cause of ctx. A Server may serve several stacks at once.
func (f *Server) Serve(ctx context.Context, s *stack.Stack) error {
	return f.newSession(s).serve(ctx)
}

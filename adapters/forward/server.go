package forward

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"l3extract/stack"
)

// Dialer opens the upstream of a stream. Network is "tcp"; address is an IP
// address and port, or a name and port if Server.Route says so. *net.Dialer,
// direct.Dialer and the dialers of proxies are Dialers. A connection that has
// CloseWrite gets half-closes passed on, one that has SetLinger resets. On Linux a
// *net.TCPConn is taken over: its descriptor is duplicated and it is closed, so a
// Dialer that has kept it can do nothing with it any more.
//
// Server gives the errors of a Dialer to clients: ECONNREFUSED, EHOSTUNREACH,
// ENETUNREACH, EACCES and time-outs, as errors.Is finds them, each as what it is.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// PacketListener opens the upstream of a UDP socket. Network is "udp4" or
// "udp6", for the destinations that it is to reach; address is ":0".
// *net.ListenConfig and direct.Dialer are PacketListeners. The Server owns what it
// returns, and on Linux takes the descriptor out of a *net.UDPConn and closes that.
type PacketListener interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Target says where a flow goes in place of the address that its client dialled.
type Target struct {
	// Addr is dialled. Zero: what the client dialled.
	Addr netip.AddrPort

	// Host, if set, is dialled in place of Addr's address: a name that the Dialer
	// resolves. The Policy then judges each address that it stands for as it is
	// dialled, if the Dialer is a *net.Dialer or *direct.Dialer, and else the
	// RemoteAddr of the connection: for a proxy's Dialer that may be the proxy, which
	// on the host's loopback needs Trusted or AllowLoopback. For TCP only.
	Host string

	// Trusted targets are not judged by the Policy: the way to make one address
	// stand for something on the host's loopback.
	Trusted bool
}

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
	// for every datagram of a UDP socket to another destination than the one
	// before, and for every ping (network "icmp", ports 0; it must not block).
	// Replies of a UDP target or a pinged one appear to come from the destination that
	// stands for it. An error refuses the flow as Stream.Reject does. It may be
	// called at once by many goroutines and may block its own flow only, but then
	// should have a time-out. Default: nil, every flow goes where it was sent.
	Route func(network string, src, dst netip.AddrPort) (Target, error)

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

	// MaxDials bounds the dials in flight. Further streams are refused (RST, cause
	// limit). An eighth is kept for sources that hold fewer than 16. Default:
	// 1024. Negative: no limit.
	MaxDials int

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

package forward

import (
	"context"
	"net"
	"net/netip"
	"reflect"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
)

// Dialer opens the upstream of a stream. Network is "tcp"; address is an IP
// address and port, or a name and port if Server.Route says so. *net.Dialer,
// direct.Dialer and the dialers of proxies are Dialers; ctx has the [outbound.Flow]. A
// connection that has CloseWrite gets half-closes passed on, one that has SetLinger
// resets. On Linux a *net.TCPConn is taken over: its descriptor is duplicated and it is
// closed, so a Dialer that has kept it can do nothing with it any more.
//
// Server gives the errors of a Dialer to clients: ECONNREFUSED, EHOSTUNREACH,
// ENETUNREACH, EACCES and time-outs, as errors.Is finds them, each as what it is.
type Dialer = outbound.Dialer

// PacketListener opens the upstream of a UDP socket. Network is "udp4" or
// "udp6", for the destinations that it is to reach; address is ":0"; ctx has the
// [outbound.Flow] of the first datagram. *net.ListenConfig and direct.Dialer are
// PacketListeners. The Server owns what it returns, and on Linux takes the descriptor
// out of a *net.UDPConn and closes that.
type PacketListener = outbound.PacketListener

// Target says where a flow goes in place of the address that its client dialled, and
// by which way.
type Target struct {
	// Addr is dialled. Zero: what the client dialled.
	Addr netip.AddrPort

	// Host, if set, is dialled in place of Addr's address: a name that the Dialer
	// resolves. The Policy then judges each address that it stands for as it is
	// dialled, if the Dialer is a *net.Dialer or *direct.Dialer. Of another Dialer of
	// the Server's it judges the RemoteAddr of the connection, which for a proxy may be
	// the proxy: on the host's loopback that needs Trusted or AllowLoopback. Any other
	// Dialer of the Target is a proxy that resolves the name at its own end, where
	// this host's Policy means nothing; it is not given names of loopback.
	Host string

	// Trusted targets are not judged by the Policy: the way to make one address
	// stand for something on the host's loopback.
	Trusted bool

	// Dialer opens the upstream of a stream. A *direct.Dialer serves it as fast as it
	// does as the Server's. Pings of the flow are sent by it, too, if it is a
	// PingListener, and else not at all. Default: the Server's.
	Dialer Dialer

	// Optimistic answers the client before the dial has ended, so that its first bytes are
	// there when it does; an [outbound.EarlyDialer] sends them before its proxy has
	// answered. That saves a round trip or two, and gives up dial-first: what cannot be
	// dialled is reset, not refused. For TCP only.
	Optimistic bool

	// PacketListener opens the upstream of a UDP socket, one for all its destinations
	// that go by the same PacketListener, which must be comparable, as a pointer is.
	// Default: the Dialer, if that is set: if it is no PacketListener datagrams are
	// refused. If neither is set, the Server's.
	PacketListener PacketListener

	// Handler, if set, answers datagrams in place of any PacketListener. It costs no
	// socket, and nothing else of the Target counts for them.
	Handler outbound.PacketHandler
}

// packetListener returns the PacketListener of t, and whether that is the Server's.
func (n *session) packetListener(t *Target) (l PacketListener, own bool) {
	switch {
	case t.PacketListener != nil:
		return t.PacketListener, false
	case t.Dialer != nil:
		l, _ = t.Dialer.(PacketListener)
		return l, false
	}
	return n.packets, true
}

// loopDialer returns the direct.Dialer whose dial the loop can do for t, or nil.
func (n *session) loopDialer(t *Target) *direct.Dialer {
	switch d := t.Dialer.(type) {
	case nil:
		return n.dialer
	case *direct.Dialer:
		if d.Timeout <= 0 { // a loop has one time for all
			return d
		}
	}
	return nil
}

// dialerFor returns who dials t, and whether what it has connected to is to be judged
// afterwards.
func (n *session) dialerFor(t *Target) (d Dialer, after bool) {
	switch {
	case t.Dialer == nil && t.Trusted:
		return n.plain, false
	case t.Dialer == nil:
		return n.judging, n.generic && t.Host != ""
	case t.Trusted:
		return t.Dialer, false
	}
	d, _ = n.withPolicy(t.Dialer)
	return d, false
}

// canCompare tells whether v can be found again among others.
func canCompare(v any) bool {
	return reflect.TypeOf(v).Kind() == reflect.Pointer || reflect.ValueOf(v).Comparable()
}

type sessionKey struct{}

// Obeying returns d for a Dialer that hands a dial on to it with the ctx that the Server
// gave: if the Target is not Trusted and d is a *net.Dialer or *direct.Dialer, it is one
// that judges each address by the Server's Policy. Any other Dialer is returned as it is.
func Obeying(ctx context.Context, d Dialer) Dialer {
	if n, ok := ctx.Value(sessionKey{}).(*session); ok {
		d, _ = n.withPolicy(d)
	}
	return d
}

// flowContext returns a context for what may wait on behalf of f: it has f, and ends
// after DialTimeout.
func (n *session) flowContext(ctx context.Context, f outbound.Flow) (context.Context, context.CancelFunc) {
	ctx = outbound.WithFlow(ctx, f)
	if n.dialTimeout > 0 {
		return context.WithTimeout(ctx, n.dialTimeout)
	}
	return context.WithCancel(ctx)
}

// isDirect tells whether l opens sockets of this host, which takes no time.
func isDirect(l PacketListener) bool {
	switch l.(type) {
	case *direct.Dialer, *net.ListenConfig:
		return true
	}
	return false
}

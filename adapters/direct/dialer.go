package direct

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"l3extract/adapters/outbound"
)

// Dialer opens connections and sockets from the host. The zero Dialer is
// net.Dialer's and net.ListenConfig's equal, without keepalive. Its fields must
// not be changed once it is used; its methods may be called at once.
type Dialer struct {
	// Mark is the mark (SO_MARK) of every packet sent, for routing rules such as
	// "ip rule add fwmark 1 table main". It needs CAP_NET_ADMIN. Default: 0, none.
	// On other systems than Linux a mark is an error.
	Mark uint32

	// Interface is the name of the interface that packets leave and come by:
	// SO_BINDTODEVICE on Linux, IP_BOUND_IF on macOS and iOS, an error elsewhere.
	// Default: "", as routes say.
	Interface string

	// InterfaceOf, if set, names the interface anew for each socket, in place of Interface:
	// netwatch.Monitor.Interface follows the default route so. Network is
	// "tcp4", "udp6" or the like, or begins with "ip4" or "ip6" for pings. "" is as routes say; an error is that of the
	// call. It must not wait, and is not asked for what is dialled on the host's loopback.
	// Default: nil.
	InterfaceOf func(network string) (name string, err error)

	// Timeout bounds one DialContext. Default: 0, the context's and the system's.
	Timeout time.Duration

	// KeepAlive are the keepalive probes of connections. The zero value is none:
	// idle timeouts are the forwarder's business, and ten thousand probes are work.
	KeepAlive net.KeepAliveConfig

	// Resolver resolves names. Default: nil, net.DefaultResolver.
	Resolver *net.Resolver

	// Control, if set, is called with every socket before it is connected or
	// bound, after Mark and Interface were set, as net.Dialer.ControlContext is.
	// It is the place for Android's VpnService.protect.
	Control func(ctx context.Context, network, address string, c syscall.RawConn) error
}

// DialContext is net.Dialer.DialContext. An error of Mark or Interface is a
// *net.OpError like any other of it; errors.ErrUnsupported matches one that says
// that the system cannot.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var c call
	c.begin()
	defer c.end()
	nd := net.Dialer{
		Timeout: d.Timeout, Resolver: d.Resolver,
		ControlContext: func(ctx context.Context, network, address string, raw syscall.RawConn) error {
			c.add(network, address, raw)
			outbound.Socket(ctx, raw)
			return d.control(ctx, network, address, raw)
		},
		KeepAlive: -1, KeepAliveConfig: d.KeepAlive,
	}
	return nd.DialContext(ctx, network, address)
}

// ListenPacket is net.ListenConfig.ListenPacket, with errors as DialContext.
func (d *Dialer) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		outbound.Socket(ctx, c)
		return d.control(ctx, network, address, c)
	}}
	return lc.ListenPacket(ctx, network, address)
}

// binds tells whether there is something to bind sockets to.
func (d *Dialer) binds() bool { return d.Mark != 0 || d.Interface != "" || d.InterfaceOf != nil }

// via returns the interface of a socket that is to be connected to address, if that has
// a host.
func (d *Dialer) via(network, address string) (string, error) {
	if d.InterfaceOf == nil {
		return d.Interface, nil
	}
	if to, err := netip.ParseAddrPort(address); err == nil && to.Addr().IsLoopback() {
		return "", nil
	}
	return d.InterfaceOf(network)
}

// control prepares a socket.
func (d *Dialer) control(ctx context.Context, network, address string, c syscall.RawConn) error {
	if d.binds() {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = d.bind(int(fd), network, address) }); cerr != nil {
			return cerr
		}
		if err != nil {
			return err
		}
	}
	if d.Control == nil {
		return nil
	}
	return d.Control(ctx, network, address, c)
}

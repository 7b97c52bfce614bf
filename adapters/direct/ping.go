package direct

import (
	"context"
	"net"
)

// ListenPing opens a socket for pings: an unprivileged ping socket (a *net.UDPConn
// that carries ICMP echo messages, whose identifier is its port) where the system's
// net.ipv4.ping_group_range holds the process's group, else a raw one (a *net.IPConn),
// which needs CAP_NET_RAW. Network is "ip4:icmp" or "ip6:ipv6-icmp". Mark, Interface
// and Control apply as to any other socket; the address that Control is told is empty
// for a ping socket. Errors are *net.OpError: EACCES without
// permission for either, errors.ErrUnsupported on other systems than Linux.
func (d *Dialer) ListenPing(ctx context.Context, network string) (net.PacketConn, error) {
	if network != ping4 && network != ping6 {
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	pc, err := d.listenPing(ctx, network)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return pc, nil
}

// The networks of ListenPing.
const (
	ping4 = "ip4:icmp"
	ping6 = "ip6:ipv6-icmp"
)

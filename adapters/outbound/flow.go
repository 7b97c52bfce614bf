package outbound

import (
	"context"
	"net"
	"net/netip"
	"strconv"
)

// Flow is what is known of a client's connection or datagram when a way for it is
// looked for.
type Flow struct {
	Network     string         // "tcp", "udp" or "icmp"
	Source      netip.AddrPort // the client
	Destination netip.AddrPort // what it addressed; port 0 for icmp
	Name        string         // the host name in its first bytes, if they were looked at; else ""
}

type flowKey struct{}

// WithFlow returns a context that carries f to a Dialer or PacketListener.
func WithFlow(ctx context.Context, f Flow) context.Context {
	return context.WithValue(ctx, flowKey{}, f)
}

// FlowFrom returns the flow for which ctx was made, and whether there is one.
func FlowFrom(ctx context.Context) (Flow, bool) {
	f, ok := ctx.Value(flowKey{}).(Flow)
	return f, ok
}

// Name is the address of a host by its name, for WriteTo of sockets that take it.
// It is comparable.
type Name struct {
	Host string // without a final dot
	Port uint16 // 1 to 65535
}

// Network implements net.Addr: "udp".
func (Name) Network() string { return "udp" }

// String returns the name and port as net.JoinHostPort does.
func (n Name) String() string { return net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port))) }

package outbound

import (
	"context"
	"net"
)

// Dialer opens connections. Network is "tcp"; address is an IP address and port, or
// a name and port, which a proxy passes on unresolved. Errors are *net.OpError;
// the causes that errors.Is finds in them (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH,
// EACCES, os.ErrDeadlineExceeded) say what became of the destination, also where a
// proxy has told it. DialContext may be called at once.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// PacketListener opens sockets for datagrams. Network is "udp4" or "udp6", for the
// destinations that the socket is to reach; address is ":0". What WriteTo of the
// socket takes is a *net.UDPAddr, and a Name if the outbound knows names.
// ListenPacket may be called at once.
type PacketListener interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// PacketWaiter is what a socket of a PacketListener may be, so that whoever reads from
// many holds no buffer for those that are silent. WaitRead returns nil when a ReadFrom
// would not wait, or if it cannot tell, and else what ReadFrom would return.
type PacketWaiter interface {
	WaitRead() error
}

// PacketHandler answers datagrams within the process, with no socket. HandlePacket
// must not wait, and must not keep p. It may call reply then or later, from any
// goroutine, any number of times, at once: each call is a datagram from
// f.Destination to f.Source, and is lost if the client's mapping has ended.
type PacketHandler interface {
	HandlePacket(f Flow, p []byte, reply func(p []byte))
}

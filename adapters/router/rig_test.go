package router

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"l3extract/adapters/outbound"
)

// way is an outbound that does nothing; pointers to it differ.
type way struct {
	dialed []string
	err    error
}

func (w *way) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	w.dialed = append(w.dialed, address)
	if w.err != nil {
		return nil, w.err
	}
	c, _ := net.Pipe()
	return c, nil
}

// listener is a way that carries datagrams too.
type listener struct{ way }

func (l *listener) ListenPacket(_ context.Context, network, _ string) (net.PacketConn, error) {
	l.dialed = append(l.dialed, network)
	return nil, syscall.EMFILE
}

// handler answers nothing.
type handler struct{ way }

func (*handler) HandlePacket(outbound.Flow, []byte, func([]byte)) {}

// namesFunc are Names made of a function.
type namesFunc func(src, dst netip.Addr) (string, bool, bool)

func (f namesFunc) NameOf(src, dst netip.Addr) (string, bool, bool) { return f(src, dst) }

func flow(network, dst, name string) outbound.Flow {
	return outbound.Flow{
		Network: network, Source: netip.MustParseAddrPort("192.0.2.9:1234"),
		Destination: netip.MustParseAddrPort(dst), Name: name,
	}
}

func nets(s ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range s {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

package socks5

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// ListenPacket makes an association with the proxy and returns its socket, which
// reaches destinations of both families. Network is "udp", "udp4" or "udp6", which
// are alike, and address is not used. The error matches errors.ErrUnsupported if the
// proxy does not do UDP ASSOCIATE.
func (d *Dialer) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6":
	default:
		return nil, hop.OpError("listen", network, address, net.UnknownNetworkError(network))
	}
	a, err := d.associate(ctx)
	if err != nil {
		return nil, hop.OpError("listen", network, address, err)
	}
	return a, nil
}

// packetListener returns what opens sockets.
func (d *Dialer) packetListener() (outbound.PacketListener, error) {
	switch {
	case d.PacketListener != nil:
		return d.PacketListener, nil
	case d.Dialer == nil:
		return new(direct.Dialer), nil
	}
	if l, ok := d.Dialer.(outbound.PacketListener); ok {
		return l, nil
	}
	return nil, fmt.Errorf("the way to the proxy carries no datagrams: %w", errors.ErrUnsupported)
}

func (d *Dialer) associate(ctx context.Context) (*association, error) {
	p := d.proxy()
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	l, err := d.packetListener()
	if err != nil {
		return nil, p.Fault(err)
	}
	from := socksaddr.Addr{IP: netip.IPv4Unspecified()} // "I do not know", RFC 1928 section 7
	var pc net.PacketConn
	if d.Announce {
		if pc, from, err = d.announced(ctx, l); err != nil {
			return nil, p.Fault(err)
		}
	}
	ctrl, bound, err := d.open(ctx, cmdAssociate, from)
	if err != nil {
		closeIf(pc)
		if stale(err) { // a destination that refuses cannot be the reason
			err = p.Unsupported("ended the connection instead of making an association")
		}
		return nil, err
	}
	relay, err := d.relayAddr(bound, ctrl)
	if err == nil && pc == nil {
		pc, err = l.ListenPacket(ctx, family(relay.Addr()), ":0")
	}
	if err != nil {
		closeIf(pc)
		_ = ctrl.Close()
		return nil, p.Fault(err)
	}
	if c, ok := ctrl.(*net.TCPConn); ok { // nothing else tells of a proxy that has lost its power
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
	d.associations.Add(1)
	return newAssociation(d, p, pc, ctrl, relay), nil
}

func closeIf(pc net.PacketConn) {
	if pc != nil {
		_ = pc.Close() // nothing is in it that could be lost
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

// announced opens the socket first, to tell its address. A datagram to nowhere in
// particular at the proxy would tell by which interface it leaves; the connection to
// the proxy tells that as well, and costs nothing if it comes from the pool.
func (d *Dialer) announced(ctx context.Context, l outbound.PacketListener) (net.PacketConn, socksaddr.Addr, error) {
	probe, err := d.proxy().Dial(ctx)
	if err != nil {
		return nil, socksaddr.Addr{}, err
	}
	local := hop.AddrPort(probe.LocalAddr()).Addr()
	_ = probe.Close() // nothing was said
	if !local.IsValid() {
		local = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // a Unix socket
	}
	pc, err := l.ListenPacket(ctx, family(local), ":0")
	if err != nil {
		return nil, socksaddr.Addr{}, err
	}
	return pc, socksaddr.Addr{IP: local, Port: hop.AddrPort(pc.LocalAddr()).Port()}, nil
}

// relayAddr returns where the proxy wants datagrams. Many proxies bind to every
// address and say just that, which means "where you have reached me".
func (d *Dialer) relayAddr(bound socksaddr.Addr, ctrl net.Conn) (netip.AddrPort, error) {
	switch {
	case bound.Port == 0:
		return netip.AddrPort{}, errors.New("made an association without a port")
	case bound.IP.IsValid() && !bound.IP.IsUnspecified():
		return netip.AddrPortFrom(bound.IP, bound.Port), nil
	case bound.Name != "":
		return netip.AddrPort{}, errors.New("made an association at a name, not at an address")
	}
	if a := hop.AddrPort(ctrl.RemoteAddr()).Addr(); a.IsValid() && !a.IsUnspecified() {
		return netip.AddrPortFrom(a, bound.Port), nil
	}
	if hop.IsPath(d.Address) { // it is on this host
		if bound.IP.Is6() {
			return netip.AddrPortFrom(netip.IPv6Loopback(), bound.Port), nil
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), bound.Port), nil
	}
	if host, err := socksaddr.Split(d.Address); err == nil && host.IP.IsValid() {
		return netip.AddrPortFrom(host.IP, bound.Port), nil
	}
	return netip.AddrPort{}, errors.New("made an association and did not say where")
}

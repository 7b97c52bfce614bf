package shadowsocks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Jigsaw-Code/outline-sdk/transport/shadowsocks"

	"l3extract/adapters/direct"
	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// Methods are the methods that a Dialer knows.
var Methods = []string{"chacha20-ietf-poly1305", "aes-256-gcm", "aes-192-gcm", "aes-128-gcm"}

// Dialer opens connections and sockets through one Shadowsocks server. Its fields must
// not be changed once it is used; its methods may be called at once.
type Dialer struct {
	// Address is the server's: host:port, or the path of a Unix socket, for
	// connections only.
	Address string

	// Method is one of Methods, in letters of either case. Password is what the key is
	// derived from; it must not be empty.
	Method, Password string

	// Dialer reaches the server. Default: nil, a direct.Dialer.
	Dialer outbound.Dialer

	// PacketListener opens the sockets for datagrams. Default: nil, Dialer if it is one
	// too, or a direct.Dialer if that is nil.
	PacketListener outbound.PacketListener

	// Lookup resolves the server's name for datagrams; network is "ip". Default: nil,
	// the system's resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Timeout bounds reaching the server. Default: 0, 10 s. Negative: the context's
	// alone.
	Timeout time.Duration

	once   sync.Once
	key    *shadowsocks.EncryptionKey
	keyErr error

	foreign, bad atomic.Uint64
}

// Check returns an error if Method or Password cannot be used.
func (d *Dialer) Check() error {
	_, err := d.encryption()
	return err
}

func (d *Dialer) encryption() (*shadowsocks.EncryptionKey, error) {
	d.once.Do(func() {
		switch {
		case d.Password == "":
			d.keyErr = errors.New("there is no password")
			return
		case strings.HasPrefix(d.Method, "2022-"):
			d.keyErr = errors.New("the methods of 2022 are not supported: " + known)
			return
		}
		if d.key, d.keyErr = shadowsocks.NewEncryptionKey(d.Method, d.Password); d.keyErr != nil {
			d.keyErr = errors.New("there is no such method: " + known)
		}
	})
	return d.key, d.keyErr
}

var known = "there are " + strings.Join(Methods, ", ")

// Stats are what a Dialer has counted.
type Stats struct {
	Foreign   uint64 // datagrams dropped because they did not come from the server
	Malformed uint64 // dropped because they could not be decrypted, or made no sense
}

// Stats returns the counters.
func (d *Dialer) Stats() Stats { return Stats{Foreign: d.foreign.Load(), Malformed: d.bad.Load()} }

func (d *Dialer) proxy() *hop.Proxy {
	return &hop.Proxy{Protocol: "shadowsocks", Address: d.Address, Dialer: d.Dialer, Timeout: d.Timeout}
}

// DialContext connects to the server and tells it address, at once. Network is "tcp",
// "tcp4" or "tcp6", which are alike: the server resolves names.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, hop.OpError("dial", network, address, err)
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := hop.Networks(network); err != nil {
		return nil, err
	}
	to, err := socksaddr.Split(address)
	if err != nil {
		return nil, err
	}
	p := d.proxy()
	key, err := d.encryption()
	if err != nil {
		return nil, p.Denied(err.Error())
	}
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	inner, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(inner, key)
	err = hop.Within(ctx, inner, func(net.Conn) error {
		_, err := c.Write(to.Append(nil))
		return err
	})
	if err != nil {
		_ = inner.Close() // it is of no use
		return nil, p.Fault(hop.Cut(err))
	}
	return c, nil
}

// ListenPacket opens a socket for datagrams by the server, to destinations of both
// families. Network is "udp", "udp4" or "udp6", which are alike; address is not used.
// WriteTo and ReadFrom take and return addresses as those of socks5 do.
func (d *Dialer) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := d.listen(ctx, network)
	if err != nil {
		return nil, hop.OpError("listen", network, address, err)
	}
	return pc, nil
}

func (d *Dialer) listen(ctx context.Context, network string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	p := d.proxy()
	key, err := d.encryption()
	if err != nil {
		return nil, p.Denied(err.Error())
	}
	l := d.PacketListener
	if l == nil {
		l, _ = d.Dialer.(outbound.PacketListener)
	}
	switch {
	case l == nil && d.Dialer == nil:
		l = new(direct.Dialer)
	case l == nil:
		return nil, p.Fault(fmt.Errorf("the way to the server carries no datagrams: %w", errors.ErrUnsupported))
	case hop.IsPath(d.Address):
		return nil, p.Fault(fmt.Errorf("a Unix socket carries no datagrams: %w", errors.ErrUnsupported))
	}
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	server, err := d.server(ctx)
	if err != nil {
		return nil, p.Fault(err)
	}
	family := "udp6"
	if server.Addr().Is4() {
		family = "udp4"
	}
	pc, err := l.ListenPacket(ctx, family, ":0")
	if err != nil {
		return nil, p.Fault(err)
	}
	return newPacketConn(d, pc, key, server), nil
}

// server returns where datagrams go.
func (d *Dialer) server(ctx context.Context) (netip.AddrPort, error) {
	a, err := socksaddr.Split(d.Address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if !a.IP.IsValid() {
		lookup := d.Lookup
		if lookup == nil {
			lookup = net.DefaultResolver.LookupNetIP
		}
		ips, err := lookup(ctx, "ip", a.Name)
		switch {
		case err != nil:
			return netip.AddrPort{}, err
		case len(ips) == 0:
			return netip.AddrPort{}, &net.DNSError{Err: "no address", Name: a.Name, IsNotFound: true}
		}
		a.IP = ips[0].Unmap()
	}
	return netip.AddrPortFrom(a.IP, a.Port), nil
}

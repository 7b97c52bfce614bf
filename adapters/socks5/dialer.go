package socks5

import (
	"context"
	"net"
	"net/netip"
	"time"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// Dialer opens connections and sockets through one SOCKS5 proxy. Its fields must not
// be changed once it is used; its methods may be called at once. Close it if it has a
// Pool.
type Dialer struct {
	// Address is the proxy's: host:port, or the path of a Unix socket, which begins
	// with "/", "./" or "../", or with "@" for a name of Linux's abstract namespace.
	Address string

	// Username and Password are what the proxy asks for, each 1 to 255 bytes.
	// Default: "", no authentication.
	Username, Password string

	// Dialer reaches the proxy. Default: nil, a direct.Dialer.
	Dialer outbound.Dialer

	// PacketListener opens the sockets of associations. Default: nil, Dialer if it is
	// one too, or a direct.Dialer if that is nil.
	PacketListener outbound.PacketListener

	// Timeout bounds a dial: reaching the proxy, and the handshake with it until it has
	// reached the destination or not. Default: 0, 10 s. Negative: the context's alone.
	Timeout time.Duration

	// Pipeline sends greeting, credentials and request in one piece, without waiting
	// for the answers in between. The RFC does not forbid it. Dante, OpenSSH's ssh -D
	// and sing-box take it; microsocks loses the request and the dial times out.
	Pipeline bool

	// Pool is how many idle connections to the proxy, greeted and authenticated, are
	// kept at most for the next dials. There are as many as have been of use lately,
	// so none before the first dial. Default: 0, none.
	Pool int

	// PoolIdle is for how long one of them is kept. It should be shorter than the time
	// for which the proxy waits for a request. Default: 0, 20 s.
	PoolIdle time.Duration

	// Announce tells the proxy from where an association's datagrams will come. Some
	// want that (microsocks after 1.0.3); with address translation in between it is
	// wrong. Default: false, the proxy finds out.
	Announce bool

	pool pool
	counters
}

// DialContext opens a connection to address through the proxy. Network is "tcp",
// "tcp4" or "tcp6", which are alike: the proxy resolves names.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	err := hop.Networks(network)
	var to socksaddr.Addr
	if err == nil {
		to, err = socksaddr.Split(address)
	}
	var c net.Conn
	if err == nil {
		c, _, err = d.open(ctx, cmdConnect, to)
	}
	if err != nil {
		return nil, hop.OpError("dial", network, address, err)
	}
	return c, nil
}

// Close closes the idle connections of the Pool and waits for what it has begun. What
// was dialled lives on, and later dials work, without a Pool.
func (d *Dialer) Close() error {
	d.pool.close()
	return nil
}

// EndVia closes idle connections of the Pool that have lost their way out of the host, so
// that no dial takes them, and leaves others alone. Lost is as for EndVia of forward.Server,
// which ends those that are in use.
func (d *Dialer) EndVia(lost func(local netip.Addr, index int) bool) { d.pool.endVia(d, lost) }

// proxy returns how the proxy is reached.
func (d *Dialer) proxy() *hop.Proxy {
	return &hop.Proxy{Protocol: "socks5", Address: d.Address, Dialer: d.Dialer, Timeout: d.Timeout}
}

// open reaches the proxy and has it do cmd. It returns the address in its reply.
func (d *Dialer) open(ctx context.Context, cmd byte, to socksaddr.Addr) (net.Conn, socksaddr.Addr, error) {
	p := d.proxy()
	if err := d.check(p); err != nil {
		return nil, socksaddr.Addr{}, err
	}
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	if c := d.warm(ctx); c != nil {
		bound, err := d.request(ctx, p, c, cmd, to)
		if err == nil || !stale(err) || ctx.Err() != nil {
			return finish(c, bound, err)
		}
		d.poolDead.Add(1)
		_ = c.Close()
	}
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, socksaddr.Addr{}, err
	}
	var bound socksaddr.Addr
	if d.Pipeline {
		bound, err = d.pipeline(ctx, p, c, cmd, to)
	} else if err = d.greet(ctx, p, c); err == nil {
		bound, err = d.request(ctx, p, c, cmd, to)
	}
	if err == nil && d.Pool > 0 {
		d.pool.fill(d)
	}
	return finish(c, bound, err)
}

func finish(c net.Conn, bound socksaddr.Addr, err error) (net.Conn, socksaddr.Addr, error) {
	if err != nil {
		_ = c.Close() // it is of no use
		return nil, socksaddr.Addr{}, err
	}
	return c, bound, nil
}

// check refuses credentials that cannot be sent.
func (d *Dialer) check(p *hop.Proxy) error {
	switch {
	case len(d.Username) > 255, len(d.Password) > 255:
		return p.Denied("the user name and the password have at most 255 bytes each")
	case d.Username == "" && d.Password != "":
		return p.Denied("there is a password and no user name")
	}
	return nil
}

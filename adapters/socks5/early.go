package socks5

import (
	"context"
	"io"
	"net"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
)

// DialEarly implements outbound.EarlyDialer: it returns when the proxy has been sent
// the request. With Pipeline that is at once, with a connection of the Pool as well,
// and else when the proxy has greeted. The conn is not a plain one.
//
// A proxy that reads ahead may lose what follows the request. Dante and OpenSSH do not;
// sing-box 1.14 and microsocks 1.0 do, so be early with those only that are known.
func (d *Dialer) DialEarly(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error { return hop.OpError("dial", network, address, err) }
	if err := hop.Networks(network); err != nil {
		return nil, fail(err)
	}
	to, err := socksaddr.Split(address)
	if err != nil {
		return nil, fail(err)
	}
	p := d.proxy()
	if err := d.check(p); err != nil {
		return nil, fail(err)
	}
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	c, all, err := d.ask(ctx, p, to)
	if err != nil {
		return nil, fail(err)
	}
	greeted := !all
	read := func(r io.Reader) (err error) {
		if all {
			_, greeted, err = d.readAll(p, r)
		} else {
			_, err = readReply(p, r)
		}
		return err
	}
	return p.Early(c, read, func(err error) error {
		if greeted {
			return fail(p.Silent(err))
		}
		return fail(p.Fault(err))
	}), nil
}

// ask sends the request, and tells whether no answer at all has been read.
func (d *Dialer) ask(ctx context.Context, p *hop.Proxy, to socksaddr.Addr) (c net.Conn, all bool, err error) {
	if c = d.warm(ctx); c == nil {
		if c, err = p.Dial(ctx); err != nil {
			return nil, false, err
		}
		if all = d.Pipeline; !all {
			err = d.greet(ctx, p, c)
		}
		if err == nil && d.Pool > 0 {
			d.pool.fill(d)
		}
	}
	if err == nil {
		err = hop.Within(ctx, c, func(c net.Conn) error {
			b := make([]byte, 0, maxHandshake)
			if all {
				b = d.appendAll(b, cmdConnect, to)
			} else {
				b = appendRequest(b, cmdConnect, to)
			}
			_, err := c.Write(b)
			return hop.Cut(err)
		})
	}
	if err != nil {
		_ = c.Close() // it is of no use
		return nil, false, p.Fault(err)
	}
	return c, all, nil
}

// warm returns a connection of the Pool, or nil.
func (d *Dialer) warm(ctx context.Context) net.Conn {
	if d.Pool <= 0 {
		return nil
	}
	c := d.pool.take(d)
	if c == nil {
		d.poolMisses.Add(1)
		return nil
	}
	d.poolHits.Add(1)
	hop.Tell(ctx, c)
	return c
}

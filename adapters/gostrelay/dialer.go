package gostrelay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-gost/relay"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// Dialer opens connections through one gost server. Its fields must not be changed
// once it is used; DialContext may be called at once.
type Dialer struct {
	// Address is the server's: host:port, or the path of a Unix socket, which begins
	// with "/", "./" or "../", or with "@" for a name of Linux's abstract namespace.
	Address string

	// Username and Password are what the server asks for, each up to 255 bytes.
	// Default: "", no authentication.
	Username, Password string

	// Dialer reaches the server. Default: nil, a direct.Dialer.
	Dialer outbound.Dialer

	// Timeout bounds a dial: reaching the server, and its answer when it has reached the
	// destination or not. Default: 0, 10 s. Negative: the context's alone.
	Timeout time.Duration

	dropped atomic.Uint64
}

// DialContext opens a connection to address through the server. Network is "tcp",
// "tcp4" or "tcp6", which are alike: the server resolves names.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	err := hop.Networks(network)
	var c net.Conn
	if err == nil {
		c, _, err = d.dial(ctx, network, address, answer)
	}
	if err != nil {
		return nil, hop.OpError("dial", network, address, err)
	}
	return c, nil
}

// DialEarly implements outbound.EarlyDialer: it returns when the server has been sent
// the request. The conn is not a plain one.
func (d *Dialer) DialEarly(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error { return hop.OpError("dial", network, address, err) }
	if err := hop.Networks(network); err != nil {
		return nil, fail(err)
	}
	c, p, err := d.dial(ctx, network, address, func(*hop.Proxy, io.Reader) error { return nil })
	if err != nil {
		return nil, fail(err)
	}
	return p.Early(c, func(r io.Reader) error { return answer(p, r) }, func(err error) error { return fail(p.Silent(err)) }), nil
}

// dial sends a request, and has the answer read. Network may be "udp", too.
func (d *Dialer) dial(ctx context.Context, network, address string, read func(*hop.Proxy, io.Reader) error) (net.Conn, *hop.Proxy, error) {
	to, err := socksaddr.Split(address)
	if err != nil {
		return nil, nil, err
	}
	p := &hop.Proxy{Protocol: "relay", Address: d.Address, Dialer: d.Dialer, Timeout: d.Timeout}
	if len(d.Username) > 255 || len(d.Password) > 255 {
		return nil, nil, p.Denied("the user name and the password have at most 255 bytes each")
	}
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	err = hop.Within(ctx, c, func(c net.Conn) error {
		r := d.request(to)
		if network == "udp" {
			datagrams(r)
		}
		if _, err := r.WriteTo(c); err != nil {
			return hop.Cut(err)
		}
		return read(p, c)
	})
	if err != nil {
		_ = c.Close() // it is of no use
		return nil, nil, p.Silent(err)
	}
	return c, p, nil
}

func (d *Dialer) request(to socksaddr.Addr) *relay.Request {
	r := &relay.Request{Version: relay.Version1, Cmd: relay.CmdConnect}
	if d.Username != "" || d.Password != "" {
		r.Features = append(r.Features, &relay.UserAuthFeature{Username: d.Username, Password: d.Password})
	}
	a := &relay.AddrFeature{AType: relay.AddrDomain, Host: to.Name, Port: to.Port}
	if to.IP.IsValid() {
		a.AType, a.Host = relay.AddrIPv6, to.IP.String()
		if to.IP.Is4() {
			a.AType = relay.AddrIPv4
		}
	}
	r.Features = append(r.Features, a)
	return r
}

// answer reads what became of a request, and not a byte more.
func answer(p *hop.Proxy, c io.Reader) error {
	var r relay.Response
	if _, err := r.ReadFrom(c); err != nil {
		if errors.Is(err, relay.ErrBadVersion) {
			return errors.New("answers with what is not the relay protocol")
		}
		return hop.Cut(err)
	}
	switch r.Status {
	case relay.StatusOK:
		return nil
	case relay.StatusUnauthorized:
		return p.Denied("refuses the user name or the password, or wants some")
	case relay.StatusForbidden:
		return p.Refused("not allowed by its rules", syscall.EACCES)
	case relay.StatusTimeout:
		return p.Refused("timeout", syscall.ETIMEDOUT)
	case relay.StatusServiceUnavailable:
		return p.Refused("service unavailable", syscall.EHOSTUNREACH)
	case relay.StatusHostUnreachable:
		return p.Refused("host unreachable", syscall.EHOSTUNREACH)
	case relay.StatusNetworkUnreachable:
		return p.Refused("network unreachable", syscall.ENETUNREACH)
	case relay.StatusBadRequest:
		return errors.New("calls the request a bad one")
	case relay.StatusInternalServerError:
		return errors.New("has an internal error")
	}
	return fmt.Errorf("answers with status %d, which there is not", r.Status)
}

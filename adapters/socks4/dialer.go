package socks4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// Dialer opens connections through one SOCKS4 proxy. Its fields must not be changed
// once it is used; DialContext may be called at once.
type Dialer struct {
	// Address is the proxy's: host:port, or the path of a Unix socket, which begins
	// with "/", "./" or "../", or with "@" for a name of Linux's abstract namespace.
	Address string

	// User is the user's ID, which holds no zero byte. Default: "".
	User string

	// Names passes names to the proxy (SOCKS4a). Default: false, a name is resolved
	// here.
	Names bool

	// Lookup resolves names if Names is not set. Default: nil, the system's resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Dialer reaches the proxy. Default: nil, a direct.Dialer.
	Dialer outbound.Dialer

	// Timeout bounds a dial: reaching the proxy, and its answer when it has reached the
	// destination or not. Default: 0, 10 s. Negative: the context's alone.
	Timeout time.Duration
}

const (
	version = 4
	connect = 1

	granted  = 90
	rejected = 91
	noIdent  = 92 // the proxy wants an identd on this host
	badIdent = 93
)

// DialContext opens a connection to address through the proxy. Network is "tcp" or
// "tcp4".
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, _, err := d.dial(ctx, network, address, answer)
	if err != nil {
		return nil, hop.OpError("dial", network, address, err)
	}
	return c, nil
}

// DialEarly implements outbound.EarlyDialer: it returns when the proxy has been sent
// the request. The conn is not a plain one.
func (d *Dialer) DialEarly(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error { return hop.OpError("dial", network, address, err) }
	c, p, err := d.dial(ctx, network, address, func(*hop.Proxy, io.Reader) error { return nil })
	if err != nil {
		return nil, fail(err)
	}
	return p.Early(c, func(r io.Reader) error { return answer(p, r) }, func(err error) error { return fail(p.Silent(err)) }), nil
}

// dial sends a request, and has the answer read.
func (d *Dialer) dial(ctx context.Context, network, address string, read func(*hop.Proxy, io.Reader) error) (net.Conn, *hop.Proxy, error) {
	if err := hop.Networks(network); err != nil {
		return nil, nil, err
	}
	to, err := socksaddr.Split(address)
	if err != nil {
		return nil, nil, err
	}
	p := &hop.Proxy{Protocol: "socks4", Address: d.Address, Dialer: d.Dialer, Timeout: d.Timeout}
	if strings.IndexByte(d.User, 0) >= 0 || len(d.User) > 255 {
		return nil, nil, p.Denied("the user's ID has at most 255 bytes and no zero byte")
	}
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	if !d.Names && !to.IP.IsValid() {
		if to.IP, err = d.resolve(ctx, to.Name); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case to.IP.Is6(), network == "tcp6":
		return nil, nil, p.Refused("SOCKS4 carries no IPv6", syscall.EAFNOSUPPORT)
	case strings.IndexByte(to.Name, 0) >= 0:
		return nil, nil, fmt.Errorf("the name has a zero byte: %w", syscall.EHOSTUNREACH)
	}
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	err = hop.Within(ctx, c, func(c net.Conn) error {
		if _, err := c.Write(d.request(to)); err != nil {
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

// resolve looks a name up.
func (d *Dialer) resolve(ctx context.Context, name string) (netip.Addr, error) {
	lookup := d.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	ips, err := lookup(ctx, "ip4", name)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			return ip, nil
		}
	}
	return netip.Addr{}, &net.DNSError{Err: "no IPv4 address", Name: name, IsNotFound: true}
}

// request returns what is sent. For a name the address is 0.0.0.1, and it follows the
// user.
func (d *Dialer) request(to socksaddr.Addr) []byte {
	ip := [4]byte{3: 1}
	if to.IP.Is4() {
		ip = to.IP.As4()
	}
	b := append([]byte{version, connect, byte(to.Port >> 8), byte(to.Port)}, ip[:]...)
	b = append(append(b, d.User...), 0)
	if !to.IP.Is4() {
		b = append(append(b, to.Name...), 0)
	}
	return b
}

// answer reads the eight bytes that a proxy answers.
func answer(p *hop.Proxy, c io.Reader) error {
	var b [8]byte
	_, err := io.ReadFull(c, b[:])
	switch {
	case err == io.EOF: // OpenSSH's way to say no
		return &hop.Error{Protocol: p.Protocol, Address: p.Address, Err: hop.Cut(err), Errno: syscall.ECONNREFUSED}
	case err != nil:
		return hop.Cut(err)
	case b[0] == 'H':
		return errors.New("this is no SOCKS4 proxy; it seems to speak HTTP")
	case b[0] != 0 && b[0] != version: // some answer with the version of the request
		return fmt.Errorf("this is no SOCKS4 proxy: it answers with version %d", b[0])
	}
	switch b[1] {
	case granted:
		return nil
	case rejected:
		return p.Refused("rejected or failed", syscall.ECONNREFUSED)
	case noIdent, badIdent:
		return p.Denied("cannot find out who this client is, or does not believe it")
	}
	return fmt.Errorf("answers with code %d, which there is not", b[1])
}

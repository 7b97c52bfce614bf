package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// target is where an upstream's server is: an address, or a name that is looked up once.
type target struct {
	host    string
	port    uint16
	options *Options

	mu    sync.Mutex // held over no lookup
	addrs []netip.Addr
	last  int // the address to try first
}

func newTarget(host, port string, o *Options) (*target, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q is no port", port)
	}
	t := &target{host: host, port: uint16(n), options: o}
	if a, err := netip.ParseAddr(host); err == nil {
		t.addrs = []netip.Addr{a.Unmap()}
	}
	return t, nil
}

// String returns host and port.
func (t *target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// known tells whether no lookup is needed.
func (t *target) known() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.addrs) > 0
}

func (t *target) prepare(ctx context.Context) error {
	if t.known() || t.options.ByName {
		return nil
	}
	addrs, err := t.options.Lookup(ctx, t.host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address")
	}
	if err != nil {
		return fmt.Errorf("dns: the upstream's name %s: %w", t.host, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.addrs) > 0 { // another lookup was faster, and its addresses are in use
		return nil
	}
	for _, a := range addrs {
		t.addrs = append(t.addrs, a.Unmap())
	}
	return nil
}

// dial opens a connection to the server: at the address that was reached last, else at
// the others in turn.
func (t *target) dial(ctx context.Context) (net.Conn, error) {
	if !t.known() && t.options.ByName {
		return t.options.Dialer.DialContext(ctx, "tcp", t.String())
	}
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	addrs, first := t.now()
	var errs []error
	for i := range addrs {
		at := (first + i) % len(addrs)
		c, err := t.dialOne(ctx, addrs[at], len(addrs)-i)
		t.tried(at, err)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dialOne dials one of the addresses, with its share of the time if others are left.
func (t *target) dialOne(ctx context.Context, a netip.Addr, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	return t.options.Dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, t.port).String())
}

// now returns the addresses and which of them is to be tried first.
func (t *target) now() (addrs []netip.Addr, first int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.addrs, t.last
}

// tried remembers whether an address is worth trying first.
func (t *target) tried(at int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.last = at
	} else if t.last == at {
		t.last = (at + 1) % len(t.addrs)
	}
}

// tlsConfig is base for connections to the server.
func (t *target) tlsConfig(base *tls.Config) *tls.Config {
	c := base.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.ServerName == "" {
		c.ServerName = t.host
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	return c
}

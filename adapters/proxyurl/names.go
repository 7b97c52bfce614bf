package proxyurl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"l3extract/adapters/outbound"
)

// Lookup resolves a name; network is "ip", as for net.Resolver.LookupNetIP.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// names remembers the addresses of a proxy, and dials these. They are looked up again
// only when none of them could be reached; and if that fails, they stay.
type names struct {
	dialer outbound.Dialer
	lookup Lookup
	host   string

	mu    sync.Mutex
	addrs []netip.Addr
	stale bool      // none of them could be reached
	asked time.Time // when they were looked up
}

// askAgain is the least time between two look-ups for dials.
const askAgain = 5 * time.Second

// resolve looks the name up now.
func (n *names) resolve(ctx context.Context) error {
	addrs, err := n.lookup(ctx, "ip", n.host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no address", Name: n.host, IsNotFound: true}
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs, n.stale, n.asked = addrs, false, time.Now()
	return nil
}

// known returns addresses, and whether to ask for others.
func (n *names) known() (addrs []netip.Addr, ask bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addrs, len(n.addrs) == 0 || n.stale && time.Since(n.asked) >= askAgain
}

// addresses returns those that are to be tried.
func (n *names) addresses(ctx context.Context) ([]netip.Addr, error) {
	addrs, ask := n.known()
	if !ask {
		return addrs, nil
	}
	err := n.resolve(ctx)
	if again, _ := n.known(); len(again) > 0 {
		return again, nil
	}
	return nil, err
}

// lookupNetIP has the signature of a Lookup, for outbounds that need an address.
func (n *names) lookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return n.addresses(ctx)
}

// DialContext dials one address after the other. Each gets its share of the time.
func (n *names) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != n.host {
		return n.dialer.DialContext(ctx, network, address)
	}
	addrs, err := n.addresses(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var first error
	for i, a := range addrs {
		c, err := n.try(ctx, len(addrs)-i, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			n.prefer(a)
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		n.mu.Lock()
		n.stale = true
		n.mu.Unlock()
	}
	return nil, first
}

// prefer has the next dial begin with an address that has answered.
func (n *names) prefer(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stale = false
	if i := slices.Index(n.addrs, a); i > 0 {
		n.addrs = slices.Concat([]netip.Addr{a}, n.addrs[:i], n.addrs[i+1:]) // others read the old slice
	}
}

// try dials one of so many that are left.
func (n *names) try(ctx context.Context, left int, network, address string) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	return n.dialer.DialContext(ctx, network, address)
}

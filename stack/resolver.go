package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
)

// dnsResolver asks name servers behind the packet conn.
type dnsResolver struct {
	servers []netip.AddrPort
	stack   *Stack
	next    atomic.Uint32
	net.Resolver
}

// DNS returns a Resolver that asks these name servers through the Stack whose
// Config it is put in, one after the other when one does not answer. Names of the
// host's own files are found, too, as with any net.Resolver. Outside of a
// Config.Resolver it finds nothing.
func DNS(servers ...netip.AddrPort) Resolver { return &dnsResolver{servers: servers} }

// bind returns the resolver for one stack: a Config may be used for several.
func (d *dnsResolver) bind(s *Stack) *dnsResolver {
	b := &dnsResolver{servers: append([]netip.AddrPort(nil), d.servers...), stack: s}
	b.Resolver = net.Resolver{PreferGo: true, Dial: b.dial}
	return b
}

// LookupNetIP implements Resolver.
func (d *dnsResolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if d.stack == nil {
		return nil, &net.DNSError{Err: "stack.DNS resolves only as a stack's Config.Resolver", Name: host}
	}
	if len(d.servers) == 0 {
		return nil, &net.DNSError{Err: "stack.DNS was given no server", Name: host}
	}
	return d.Resolver.LookupNetIP(ctx, network, host)
}

// dial is called by net.Resolver for each attempt: every one takes the next
// server, whatever the host's own configuration says.
func (d *dnsResolver) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	kind := "udp"
	if len(network) >= 3 && network[:3] == "tcp" {
		kind = "tcp"
	}
	var errs []error
	for range d.servers {
		server := d.servers[int(d.next.Add(1)-1)%len(d.servers)]
		c, err := d.stack.DialContext(ctx, kind, server.String())
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

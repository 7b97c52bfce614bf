package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
)

// dnsResolver asks name servers behind the packet conn.
type dnsResolver struct {
	servers []netip.AddrPort
	stack   *Stack
	good    atomic.Uint32 // the server that answered last, asked first
}

// DNS returns a Resolver that asks these name servers through the Stack whose
// Config it is put in: the one that answered last, and when that does not answer
// the others in turn. Names of the host's own files are found, too, as with any
// net.Resolver. Outside of a Config.Resolver it finds nothing.
func DNS(servers ...netip.AddrPort) Resolver { return &dnsResolver{servers: servers} }

// bind returns the resolver for one stack: a Config may be used for several.
func (d *dnsResolver) bind(s *Stack) *dnsResolver {
	return &dnsResolver{servers: append([]netip.AddrPort(nil), d.servers...), stack: s}
}

// LookupNetIP implements Resolver. A server that knows the name not to exist has
// answered; any other failure is the next server's turn.
func (d *dnsResolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if d.stack == nil {
		return nil, &net.DNSError{Err: "stack.DNS resolves only as a stack's Config.Resolver", Name: host}
	}
	if len(d.servers) == 0 {
		return nil, &net.DNSError{Err: "stack.DNS was given no server", Name: host}
	}
	var last error
	first := d.good.Load()
	for i := range uint32(len(d.servers)) {
		n := (first + i) % uint32(len(d.servers))
		found, err := d.ask(d.servers[n]).LookupNetIP(ctx, network, host)
		var dns *net.DNSError
		if err == nil || errors.As(err, &dns) && dns.IsNotFound {
			d.good.Store(n)
			return found, err
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// ask returns a resolver that knows one server, whatever the host's own
// configuration says: all queries of a lookup must go to the same one, or half of
// its answer may be missing.
func (d *dnsResolver) ask(server netip.AddrPort) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		kind := "udp"
		if strings.HasPrefix(network, "tcp") {
			kind = "tcp"
		}
		return d.stack.DialContext(ctx, kind, server.String())
	}}
}

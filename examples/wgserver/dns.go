package main

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
)

const (
	dnsPort = 53
	// hostResolvConf is where a host says which resolvers it asks.
	hostResolvConf = "/etc/resolv.conf"
	// resolvConfAge is how long what it said is believed: hosts that move change it.
	resolvConfAge = 5 * time.Second
)

// names answers for port 53 of the server's own addresses: what is sent there goes to
// a resolver.
type names struct {
	own     map[netip.Addr]bool
	servers []netip.Addr // of the configuration; none: the host's

	mu   sync.Mutex
	host netip.AddrPort
	read time.Time
}

func newNames(c *config) *names {
	n := &names{own: make(map[netip.Addr]bool), servers: c.dns}
	for _, a := range c.addrs {
		n.own[a.Addr()] = true
	}
	return n
}

// route is forward.Server's Route. The resolver is trusted: it may well be on the
// loopback, where the policy lets no client go.
func (n *names) route(_ context.Context, f outbound.Flow) (forward.Target, error) {
	dst := f.Destination
	if f.Network == "icmp" || dst.Port() != dnsPort || !n.own[dst.Addr()] {
		return forward.Target{}, nil
	}
	return forward.Target{Addr: n.server(), Trusted: true}, nil
}

// server is the resolver to ask: the first one.
func (n *names) server() netip.AddrPort {
	if len(n.servers) > 0 {
		return netip.AddrPortFrom(n.servers[0], dnsPort)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); !n.host.IsValid() || now.Sub(n.read) > resolvConfAge {
		text, _ := os.ReadFile(hostResolvConf)
		n.host, n.read = firstServer(string(text)), now
	}
	return n.host
}

// firstServer is the first nameserver of a resolv.conf(5); without one the resolver is
// that on the host's loopback, as the C library has it.
func firstServer(text string) netip.AddrPort {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		// Zones are kept: a link-local resolver needs its interface.
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			return netip.AddrPortFrom(a.Unmap(), dnsPort)
		}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)
}

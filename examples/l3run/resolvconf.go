package main

import (
	"net/netip"
	"os"
	"strings"
)

const dnsPort = 53

// hostResolvConf is where a host says which resolvers it asks.
const hostResolvConf = "/etc/resolv.conf"

// resolvConf is what a resolv.conf(5) says.
type resolvConf struct {
	servers []netip.AddrPort
	rest    []string // search, domain, options, sortlist: as they stand
}

// readResolvConf reads the host's. Without one, or without a server in it, the
// resolver is the one on the host's loopback, as the C library has it.
func readResolvConf() resolvConf {
	b, _ := os.ReadFile(hostResolvConf)
	return parseResolvConf(string(b))
}

func parseResolvConf(text string) resolvConf {
	var r resolvConf
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			// Zones are kept: a link-local resolver needs its interface.
			if a, err := netip.ParseAddr(fields[1]); err == nil {
				r.servers = append(r.servers, netip.AddrPortFrom(a.Unmap(), dnsPort))
			}
		case "search", "domain", "options", "sortlist":
			r.rest = append(r.rest, line)
		}
	}
	if len(r.servers) == 0 {
		r.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
	}
	return r
}

// inside is what the command shall see: the same, asked through the stack.
func (r resolvConf) inside(server netip.Addr) string {
	lines := append([]string{"# l3run: names are looked up outside", "nameserver " + server.String()}, r.rest...)
	return strings.Join(lines, "\n") + "\n"
}

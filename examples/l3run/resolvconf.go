package main

import (
	"net/netip"
	"os"
	"strings"
)

const dnsPort = 53

// hostResolvConf is where a host says which resolvers it asks.
const hostResolvConf = "/etc/resolv.conf"

// resolvConf is what a resolv.conf(5) says beside its servers, which dns.System reads.
type resolvConf struct {
	search []string // search, domain: as they stand
	rest   []string // options, sortlist
}

// readResolvConf reads the host's.
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
		case "search", "domain":
			r.search = append(r.search, line)
		case "options", "sortlist":
			r.rest = append(r.rest, line)
		}
	}
	return r
}

// inside is what the command shall see: the same, asked through the stack. Where every
// name seems to exist there must be no list of domains to try it in.
func (r resolvConf) inside(server netip.Addr, search bool) string {
	lines := append([]string{"# l3run: names are looked up outside", "nameserver " + server.String()}, r.rest...)
	if search {
		lines = append(lines, r.search...)
	}
	return strings.Join(lines, "\n") + "\n"
}

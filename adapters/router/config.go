package router

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"l3extract/adapters/outbound"
)

// Config is what a Router goes by. Neither New nor Reload changes or keeps it, but for
// what its interfaces and functions stand for.
type Config struct {
	// Outbounds are the ways that Rules name.
	Outbounds []Outbound

	// Rules are tried in their order; the first that matches counts.
	Rules []Rule

	// Default names the outbound of flows that no rule matches. Default: "", they are
	// refused as by a policy.
	Default string

	// Names knows what destinations stand for. Default: nil, nothing.
	Names Names

	// SniffPorts are the destination ports of streams whose first bytes are looked at
	// for a name, if Names has none: see Router.Sniff. Default: none.
	SniffPorts []PortRange
}

// Names knows the names of addresses. NameOf returns what dst stands for when src asks,
// in lower case without a final dot. Fake says that dst is no host's address, but was
// made up for a name; ok is false where there is no name, or none any more. It must not
// wait, and may be called at once.
type Names interface {
	NameOf(src, dst netip.Addr) (name string, fake, ok bool)
}

// Outbound is a way out, with what it can do. What is nil it refuses.
type Outbound struct {
	Name string // for Rule.Outbound; not empty

	Dialer         outbound.Dialer         // for streams; pings, too, if it is a forward.PingListener
	PacketListener outbound.PacketListener // for datagrams. Default: Dialer, if it is one
	Handler        outbound.PacketHandler  // for datagrams, in place of PacketListener

	// Optimistic is forward.Target's.
	Optimistic bool

	// Trusted destinations are not judged by the Policy of the Server: for an outbound
	// within this process, such as a resolver, that answers in the place of any host.
	Trusted bool

	// Check says whether the outbound is well, for Failover alone. Default: nil, a dial
	// of FailoverConfig.Probe by Dialer.
	Check func(ctx context.Context) error
}

// Rule matches flows that fit all of its fields, one element of each. An empty field
// fits everything, so a Rule with nothing but an Outbound matches all.
type Rule struct {
	// Outbound is the name of the way that matching flows go.
	Outbound string

	Networks     []string       // "tcp", "udp", "icmp"
	Sources      []netip.Prefix // of the client
	Destinations []netip.Prefix // of what it addressed, which may be a fake address
	Ports        []PortRange    // of the destination; pings have none

	// Domains are names: "example.com" for that one, "*.example.com" for all below it,
	// ".example.com" for both. Upper case and a final dot do not count, and names of
	// other letters are written as in the DNS (xn--). Flows without a name match none.
	Domains []string
}

// PortRange are the ports from First to Last.
type PortRange struct {
	First, Last uint16 // both included
}

// Port returns the range of one port.
func Port(n uint16) PortRange { return PortRange{n, n} }

// ParsePorts reads "443" or "8000-8999".
func ParsePorts(s string) (PortRange, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if r := (PortRange{uint16(a), uint16(b)}); err == nil && err2 == nil && r.valid() {
		return r, nil
	}
	return PortRange{}, fmt.Errorf("router: ports %q: want a port as 443, or a range as 8000-8999", s)
}

// String returns what ParsePorts reads.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (r PortRange) valid() bool { return r.First > 0 && r.First <= r.Last }

func (r PortRange) contains(port uint16) bool { return r.First <= port && port <= r.Last }

// ConfigError says what of a Config is wrong.
type ConfigError struct {
	Field string // such as "Rules[2].Domains[0]"
	Value string // what stands there
	Why   string
}

// Error implements error.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("router: %s %q: %s", e.Field, e.Value, e.Why)
}

func wrong(field string, value any, why string) *ConfigError {
	return &ConfigError{Field: field, Value: fmt.Sprint(value), Why: why}
}

package router

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// TestConfigErrors: what is wrong is named, with its value.
func TestConfigErrors(t *testing.T) {
	x := []Outbound{{Name: "x", Dialer: new(way)}}
	rule := func(r Rule) Config {
		if r.Outbound == "" {
			r.Outbound = "x"
		}
		return Config{Outbounds: x, Rules: []Rule{{Outbound: "x"}, r}}
	}
	for field, cfg := range map[string]Config{
		`Outbounds[0].Name "": an outbound needs a name`:                {Outbounds: []Outbound{{Dialer: new(way)}}},
		`Outbounds[1].Name "x": there are two outbounds of this name`:   {Outbounds: []Outbound{x[0], x[0]}},
		`Outbounds[0].Name "x": it has no Dialer, no PacketListener`:    {Outbounds: []Outbound{{Name: "x"}}},
		`Default "y": there is no outbound of this name`:                {Outbounds: x, Default: "y"},
		`SniffPorts[1] "9-5": want ports of`:                            {SniffPorts: []PortRange{Port(1), {9, 5}}},
		`Rules[1].Outbound "y": there is no outbound of this name`:      rule(Rule{Outbound: "y"}),
		`Rules[1].Networks[1] "sctp": want tcp, udp or icmp`:            rule(Rule{Networks: []string{"tcp", "sctp"}}),
		`Rules[1].Ports[0] "0": want ports of`:                          rule(Rule{Ports: []PortRange{{}}}),
		`Rules[1].Sources[0] "invalid Prefix": want a prefix`:           rule(Rule{Sources: []netip.Prefix{{}}}),
		`Rules[1].Destinations[0] "invalid Prefix": want a prefix`:      rule(Rule{Destinations: []netip.Prefix{{}}}),
		`Rules[1].Domains[0] "": there is no name`:                      rule(Rule{Domains: []string{""}}),
		`Rules[1].Domains[0] "*.": there is no name`:                    rule(Rule{Domains: []string{"*."}}),
		`Rules[1].Domains[0] "a..b": a name is of labels`:               rule(Rule{Domains: []string{"a..b"}}),
		`Rules[1].Domains[0] "a.*.b": an asterisk may be in front only`: rule(Rule{Domains: []string{"a.*.b"}}),
		`Rules[1].Domains[0] "*": there is no name`:                     {},
		`Rules[1].Domains[0] "münchen.de": names of other letters`:      rule(Rule{Domains: []string{"münchen.de"}}),
		`Rules[1].Domains[0] "a b": only letters`:                       rule(Rule{Domains: []string{"a b"}}),
		`Rules[1].Domains[0] "` + strings.Repeat("a.", 127):             rule(Rule{Domains: []string{strings.Repeat("a.", 127) + "com"}}),
	} {
		if strings.Contains(field, `"*":`) {
			cfg = rule(Rule{Domains: []string{"*"}})
			field = `Rules[1].Domains[0] "*": an asterisk`
		}
		_, err := New(&cfg)
		var wrong *ConfigError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), field) {
			t.Errorf("%v, want %s", err, field)
		}
	}
}

// TestFailoverConfigErrors: as above.
func TestFailoverConfigErrors(t *testing.T) {
	x := []Outbound{{Name: "x", Dialer: new(way), Check: func(context.Context) error { return nil }}}
	for want, cfg := range map[string]FailoverConfig{
		`Outbounds "0": want 1 to 64`:                       {},
		`Outbounds "65": want 1 to 64`:                      {Outbounds: make([]Outbound, 65)},
		`Outbounds[0].Name "x": it has no Dialer`:           {Outbounds: []Outbound{{Name: "x", Handler: new(handler)}}},
		`Outbounds[0].Name "x": it has no Check, and there`: {Outbounds: []Outbound{{Name: "x", Dialer: new(way)}}},
		`Outbounds[1].Name "x": there are two`:              {Outbounds: []Outbound{x[0], x[0]}},
		`Probe "example.com": want host:port`:               {Outbounds: x, Probe: "example.com"},
		`Interval "-1ns": negative`:                         {Outbounds: x, Interval: -1},
		`Timeout "-1ns": negative`:                          {Outbounds: x, Timeout: -1},
		`Failures "-1": negative`:                           {Outbounds: x, Failures: -1},
	} {
		if _, err := NewFailover(&cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for s, want := range map[string]PortRange{
		"443": {443, 443}, "1-65535": {1, 65535}, "80-80": {80, 80},
		"0": {}, "": {}, "-": {}, "5-4": {}, "65536": {}, "1-2-3": {}, "http": {}, "-5": {}, "5-": {}, "+5": {}, "1-+5": {},
	} {
		got, err := ParsePorts(s)
		if got != want || (err != nil) != (want == PortRange{}) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
		if back, err := ParsePorts(got.String()); want != (PortRange{}) && (back != want || err != nil) {
			t.Errorf("%v becomes %v, %v", got, back, err)
		}
	}
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// dnsSchemes are the ways to ask a DNS server.
var dnsSchemes = []string{"system", "udp", "tcp", "tls", "https"}

func (c *Config) checkDNS() *Error {
	servers := func(field string, urls []URL) *Error {
		for i, u := range urls {
			if !slices.Contains(dnsSchemes, u.Scheme()) {
				return fail(fmt.Sprintf("%s[%d]", field, i), u.String(), "want system://, udp://HOST, tcp://HOST, tls://HOST or https://HOST/PATH")
			}
		}
		return nil
	}
	d := &c.DNS
	if err := servers("dns.servers", d.Servers); err != nil {
		return err
	}
	if d.Via != "" {
		if err := c.named("dns.via", d.Via); err != nil {
			return err
		}
	}
	for i, r := range d.Rules {
		at := func(key string) string { return fmt.Sprintf("dns.rules[%d].%s", i, key) }
		if len(r.Domain) == 0 {
			return fail(at("domain"), "", "is missing")
		}
		if err := servers(at("servers"), r.Servers); err != nil {
			return err
		}
		if r.Via != "" {
			if err := c.named(at("via"), r.Via); err != nil {
				return err
			}
		}
	}
	for _, f := range []struct {
		field string
		p     netip.Prefix
		six   bool
	}{{"dns.fake-ip4", d.FakeIP4.Prefix, false}, {"dns.fake-ip6", d.FakeIP6.Prefix, true}} {
		switch {
		case !f.p.IsValid():
		case !d.FakeIP:
			return fail(f.field, f.p.String(), "needs fake-ip")
		case f.p.Addr().Is6() != f.six:
			return fail(f.field, f.p.String(), "is of the other IP version")
		}
	}
	if len(d.Servers) == 0 && (len(d.Rules) > 0 || d.Via != "" || d.FakeIPFile != "" || d.Cache != 0) {
		return fail("dns.servers", "", "is missing")
	}
	return nil
}

func (c *Config) checkRoutes() *Error {
	r := &c.Routes
	for _, f := range []struct {
		field string
		uids  []string
	}{{"routes.include-uids", r.IncludeUIDs}, {"routes.exclude-uids", r.ExcludeUIDs}} {
		for i, s := range f.uids {
			if _, _, ok := UIDs(s); !ok {
				return fail(fmt.Sprintf("%s[%d]", f.field, i), s, "want a number of a user or a range, as 1000 or 1000-1999")
			}
		}
	}
	switch {
	case !r.Auto && !c.Routes.isZero():
		return fail("routes.auto-route", "", "is not set, so nothing else in routes has a meaning")
	case r.Auto && !OnLinux:
		return fail("routes.auto-route", "", "needs Linux; the README has the commands for other systems")
	case r.Auto && strings.HasPrefix(c.Device, "fd://"):
		return fail("routes.auto-route", "", "needs the name of the interface in device")
	}
	return nil
}

func (r Routes) isZero() bool {
	return !r.Auto && !r.Strict && !r.NoLAN && !r.Inbound && r.Table == 0 && r.Priority == 0 && r.StateDir == "" &&
		len(r.Addresses)+len(r.Include)+len(r.Exclude)+len(r.IncludeUIDs)+len(r.ExcludeUIDs)+len(r.DNS) == 0
}

// UIDs reads a user's number or a range of them.
func UIDs(s string) (first, last uint32, ok bool) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	lo, err1 := strconv.ParseUint(a, 10, 32)
	hi, err2 := strconv.ParseUint(b, 10, 32)
	return uint32(lo), uint32(hi), err1 == nil && err2 == nil && lo <= hi
}

func (c *Config) checkControl() *Error {
	switch {
	case c.Control == "" && c.Pprof:
		return fail("pprof", "", "needs control")
	case c.Control == "":
		return nil
	}
	u, err := url.Parse(c.Control.Reveal())
	if err != nil {
		return fail("control", c.Control.String(), "no URL; want unix:///PATH or http://TOKEN@HOST:PORT")
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return fail("control", c.Control.String(), "want unix:///PATH, with three slashes")
		}
		return nil
	case "http", "tcp":
		if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
			return fail("control", c.Control.String(), "want HOST:PORT")
		}
	default:
		return fail("control", c.Control.String(), "want unix:///PATH or http://TOKEN@HOST:PORT")
	}
	if c.ControlToken == "" && c.ControlTokenFile == "" && c.ControlTokenEnv == "" {
		return fail("control", c.Control.String(),
			"over TCP a token is needed: http://TOKEN@HOST:PORT, control-token-file or control-token-env; or use unix:///PATH")
	}
	return nil
}

// checkWorkers judges what several processes cannot share.
func (in *Invocation) checkWorkers() *Error {
	c := in.Config
	if c.Workers < 1 || c.Workers > maxWorkers {
		return fail("workers", strconv.Itoa(c.Workers), "want 1 to %d", maxWorkers)
	}
	if c.Workers == 1 {
		return nil
	}
	for _, alone := range []struct {
		field string
		used  bool
	}{
		{"control", c.Control != ""}, {"status", in.Status}, {"dns.fake-ip", c.DNS.FakeIP}, {"capture", c.Capture != ""},
		{"flow-log", c.FlowLog != ""}, {"device", strings.HasPrefix(c.Device, "fd://")},
	} {
		if alone.used {
			return fail("workers", strconv.Itoa(c.Workers), "%s needs 1: it is not shared by processes", alone.field)
		}
	}
	return nil
}

// secrets reads the passwords that the configuration only points to.
func (c *Config) secrets() *Error {
	for i := range c.Outbounds {
		o := &c.Outbounds[i]
		at := func(key string) string { return fmt.Sprintf("outbounds[%d].%s", i, key) }
		s, err := secret(at("password-file"), o.PasswordFile, at("password-env"), o.PasswordEnv)
		if err != nil {
			return err
		}
		if s != "" {
			o.Password = s
		}
	}
	s, err := secret("control-token-file", c.ControlTokenFile, "control-token-env", c.ControlTokenEnv)
	if err == nil && s != "" {
		c.ControlToken = s
	}
	return err
}

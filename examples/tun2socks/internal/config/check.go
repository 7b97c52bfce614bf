package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"l3extract/l3conn/tun"
)

// MinMemory is the least that memory can be: some hundred connections.
const MinMemory Size = 8 << 20

// maxWorkers is how many queues a TUN interface of Linux has at most.
const maxWorkers = 256

// settle makes the configuration whole and judges it.
func (in *Invocation) settle() error {
	in.translate()
	err := in.check()
	if err == nil {
		err = in.Config.secrets()
	}
	if err == nil {
		return nil
	}
	return in.Locate(err)
}

// Locate gives an error about a field its place in the file, or calls the field as the flag
// that has set it. Others are returned as they are.
func (in *Invocation) Locate(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.File != "" {
		return err
	}
	switch name, _, _ := strings.Cut(strings.TrimPrefix(e.Field, "routes."), "["); {
	case in.set[name]:
		e.Field = "-" + name
	case name == "dns.servers" && in.set["dns"]:
		e.Field = "-dns"
	case in.doc != nil:
		e.locate(in.doc.name, in.doc.file)
	case in.flags().Lookup(name) != nil:
		e.Field = "-" + name
	}
	return e
}

// translate replaces the words of tun2socks 2.6 by ours.
func (in *Invocation) translate() {
	c := in.Config
	c.TCPReceive = cmp.Or(c.TCPReceive, c.OldReceive)
	c.TCPSend = cmp.Or(c.TCPSend, c.OldSend)
	if c.TCPAutoTuning == nil {
		c.TCPAutoTuning = c.OldTuning
	}
	c.OldReceive, c.OldSend, c.OldTuning = 0, 0, nil
	if c.Control == "" && c.RestAPI != "" {
		c.Control = c.RestAPI
		if c.Control.Scheme() == "" { // host:port
			c.Control = "http://" + c.Control
		}
		c.RestAPI = ""
		if in.set["restapi"] {
			in.set["control"] = true
		}
	}
	if u, err := url.Parse(c.Control.Reveal()); err == nil && u.User != nil && c.ControlToken == "" {
		c.ControlToken = Secret(u.User.String())
		u.User = nil
		c.Control = URL(u.String())
	}
	if c.DNS.FakeIP && len(c.DNS.Servers) == 0 {
		c.DNS.Servers = []URL{"system://"}
	}
	c.Routes.Auto = c.Routes.Auto || c.Routes.Strict && !in.Cleanup
}

// fail is an error of one field.
func fail(field, value, why string, args ...any) *Error {
	return &Error{Field: field, Value: value, Why: fmt.Sprintf(why, args...)}
}

// check judges values, one by one and together.
func (in *Invocation) check() *Error {
	if in.Version || in.Cleanup {
		return nil
	}
	c := in.Config
	if in.Status && c.Device == "" { // a look at a program that runs
		return c.checkControl()
	}
	for _, f := range []func() *Error{
		c.checkDevice, c.checkOutbounds, c.checkRules, c.checkDNS, c.checkRoutes, c.checkControl, in.checkWorkers,
	} {
		if err := f(); err != nil {
			return err
		}
	}
	switch {
	case c.Memory != 0 && c.Memory < MinMemory:
		return fail("memory", c.Memory.String(), "want at least %v", MinMemory)
	case in.Queue < 0:
		return fail("queue", strconv.Itoa(in.Queue), "negative")
	case c.MulticastGroups != "":
		return fail("multicast-groups", c.MulticastGroups,
			"groups are not joined here, since what is sent to one cannot be answered: leave this out")
	case c.RestAPI != "":
		return fail("restapi", c.RestAPI.String(), "say either restapi or control, which is its name here")
	}
	return nil
}

func (c *Config) checkDevice() *Error {
	scheme, name, ok := strings.Cut(c.Device, "://")
	if !ok {
		scheme, name = "tun", c.Device
	}
	switch {
	case c.Device == "":
		return fail("device", "", "is missing")
	case scheme == "fd":
		if n, err := strconv.Atoi(name); err != nil || n < 3 {
			return fail("device", c.Device, "want the number of an open descriptor, 3 or more")
		}
	case scheme != "tun":
		return fail("device", c.Device, "%s:// is not supported, only tun:// and fd:// are", scheme)
	case name == "":
		return fail("device", c.Device, "a name is missing")
	case len(name) > 15:
		return fail("device", c.Device, "the name is longer than 15 bytes")
	}
	if c.MTU != 0 && (c.MTU < tun.MinMTU6 || c.MTU > tun.MaxMTU) {
		return fail("mtu", strconv.Itoa(c.MTU), "want %d, which IPv6 needs, to %d", tun.MinMTU6, tun.MaxMTU)
	}
	return nil
}

func (c *Config) checkOutbounds() *Error {
	for i, o := range c.Outbounds {
		at := func(key string) string { return fmt.Sprintf("outbounds[%d].%s", i, key) }
		switch {
		case o.Name == "":
			return fail(at("name"), "", "is missing")
		case slices.Contains(reserved, o.Name):
			return fail(at("name"), o.Name, "this name is taken")
		case strings.ContainsAny(o.Name, ":/ \t"):
			return fail(at("name"), o.Name, "want a name without spaces, colons and slashes")
		case slices.ContainsFunc(c.Outbounds[:i], func(p Outbound) bool { return p.Name == o.Name }):
			return fail(at("name"), o.Name, "there is another of this name")
		case o.URL == "" && len(o.Failover) == 0:
			return fail(at("url"), "", "is missing")
		case o.URL != "" && len(o.Failover) > 0:
			return fail(at("failover"), "", "an outbound has either url or failover")
		case o.Password != "" && o.PasswordFile != "" || o.Password != "" && o.PasswordEnv != "" || o.PasswordFile != "" && o.PasswordEnv != "":
			return fail(at("password"), "", "say one of password, password-file and password-env")
		case o.URL == "" && (o.Username != "" || o.Password != "" || o.PasswordFile != "" || o.PasswordEnv != ""):
			return fail(at("username"), o.Username, "credentials belong to a url")
		case len(o.Failover) > 0 && o.CheckAddress == "":
			return fail(at("check-address"), "", "is missing: a HOST:PORT that an outbound reaches if it works")
		case len(o.Failover) == 0 && (o.CheckAddress != "" || o.CheckInterval != 0):
			return fail(at("check-address"), o.CheckAddress, "checks belong to failover")
		}
		if o.CheckAddress != "" {
			if _, _, err := net.SplitHostPort(o.CheckAddress); err != nil {
				return fail(at("check-address"), o.CheckAddress, "want HOST:PORT")
			}
		}
	}
	for i, o := range c.Outbounds {
		for j, name := range o.Failover {
			switch k := slices.IndexFunc(c.Outbounds, func(p Outbound) bool { return p.Name == name }); {
			case name == "direct":
			case k < 0:
				return fail(fmt.Sprintf("outbounds[%d].failover[%d]", i, j), name, "no outbound has this name")
			case len(c.Outbounds[k].Failover) > 0:
				return fail(fmt.Sprintf("outbounds[%d].failover[%d]", i, j), name, "is a failover, too; want outbounds with a url")
			}
		}
	}
	if c.Proxy == "" {
		return fail("proxy", "", "is missing; direct:// is the one that needs no proxy")
	}
	if c.Proxy.Scheme() == "" {
		return c.named("proxy", c.Proxy.Reveal())
	}
	return nil
}

// reserved are the names of outbounds that need no definition, or cannot have one.
var reserved = []string{"direct", "reject", "dns", "proxy"}

// named says whether an outbound of this name can be used in a field.
func (c *Config) named(field, name string) *Error {
	if name == "direct" || name == "reject" || slices.ContainsFunc(c.Outbounds, func(o Outbound) bool { return o.Name == name }) {
		return nil
	}
	if name == "" {
		return fail(field, "", "is missing")
	}
	return fail(field, name, "no outbound has this name")
}

func (c *Config) checkRules() *Error {
	for i, r := range c.Rules {
		at := func(key string) string { return fmt.Sprintf("rules[%d].%s", i, key) }
		switch r.Network {
		case "", "tcp", "udp":
		case "icmp":
			if len(r.Ports) > 0 {
				return fail(at("ports"), "", "icmp has no ports")
			}
		default:
			return fail(at("network"), r.Network, "want tcp, udp or icmp")
		}
		if err := c.named(at("outbound"), r.Outbound); err != nil {
			return err
		}
	}
	return nil
}

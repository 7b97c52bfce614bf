package proxyurl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
)

// Base is how proxies are reached.
type Base struct {
	// Dialer connects to the first proxy, and is what direct:// dials with. Default:
	// nil, a direct.Dialer.
	Dialer outbound.Dialer

	// PacketListener opens sockets. Default: nil, Dialer if it is one.
	PacketListener outbound.PacketListener

	// Lookup resolves the name of the first proxy; those of others are resolved by the
	// proxy before. It is called by Outbound.Resolve, or else at the first dial, and
	// again only when no address answers. It must not ask through the outbound itself.
	// Default: nil, the Dialer resolves names at each dial.
	Lookup Lookup

	// LookupEnv returns environment variables. Default: nil, os.LookupEnv.
	LookupEnv func(name string) (value string, ok bool)
}

// Outbound is what a URL stands for. Its fields are for adapters/forward, which knows
// some types of Dialer.
type Outbound struct {
	// Dialer is never nil. PacketListener is nil if no datagrams are carried.
	Dialer         outbound.Dialer
	PacketListener outbound.PacketListener

	text    string
	keepers []closer   // ended from the last to the first
	addr    netip.Addr // of the first proxy, if the URL says it
	names   []*names   // of the first proxy, otherwise: one or none
}

// String returns the URL without its credentials.
func (o *Outbound) String() string { return o.text }

// closer is a Dialer that keeps something.
type closer interface{ Close() error }

// retirer is one that can let what it carries live on.
type retirer interface{ Retire() }

// Close ends what is kept for dials to come: idle connections, an SSH client. What an
// SSH client carries ends with it; all else lives on. It may be called more than once.
func (o *Outbound) Close() error {
	var errs []error
	for _, c := range slices.Backward(o.keepers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Retire is Close when connections shall live on, as when a program is configured anew:
// an SSH client takes no more, and ends with the last that it carries. Close may be
// called after it.
func (o *Outbound) Retire() error {
	var errs []error
	for _, c := range slices.Backward(o.keepers) {
		if r, ok := c.(retirer); ok {
			r.Retire()
		} else {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// viaEnder is one that keeps connections of this host.
type viaEnder interface {
	EndVia(lost func(local netip.Addr, index int) bool)
}

// EndVia ends what is kept for dials to come and has lost its way out of the host, as lost
// tells for EndVia of forward.Server, which comes first.
func (o *Outbound) EndVia(lost func(local netip.Addr, index int) bool) {
	for _, c := range o.keepers {
		if e, ok := c.(viaEnder); ok {
			e.EndVia(lost)
		}
	}
}

// Resolve looks up the name of the proxy, if it has one and Base has a Lookup, so that
// no dial needs to: for the time before routes change. It may be called again.
func (o *Outbound) Resolve(ctx context.Context) error {
	for _, n := range o.names {
		if err := n.resolve(ctx); err != nil {
			return fmt.Errorf("proxyurl: %s: the name of the proxy: %w", o.text, err)
		}
	}
	return nil
}

// Addresses returns the addresses of the proxy as far as they are known: that in the
// URL, or those that its name had.
func (o *Outbound) Addresses() []netip.Addr {
	var all []netip.Addr
	if o.addr.IsValid() {
		all = append(all, o.addr)
	}
	for _, n := range o.names {
		addrs, _ := n.known()
		all = append(all, addrs...)
	}
	return all
}

// Parse makes an outbound of a URL, or of several with spaces in between. Nothing is
// dialled or resolved yet. Its errors begin with the URL, without credentials.
func Parse(raw string, base Base) (*Outbound, error) {
	o := &Outbound{text: Redact(raw)}
	if err := o.parse(split(raw), base); err != nil {
		_ = o.Close() // of what has not been used
		return nil, fmt.Errorf("proxyurl: %s: %w", o.text, err)
	}
	return o, nil
}

func (o *Outbound) parse(hops []string, base Base) error {
	o.Dialer, o.PacketListener = base.Dialer, base.PacketListener
	if o.Dialer == nil {
		o.Dialer = new(direct.Dialer)
	}
	if o.PacketListener == nil {
		o.PacketListener, _ = o.Dialer.(outbound.PacketListener)
	}
	for i, raw := range hops {
		h, err := newHop(raw, base)
		if err != nil {
			return err
		}
		h.dialer, h.packets = o.Dialer, o.PacketListener
		if i == 0 {
			o.pin(h)
		}
		if err := h.build(o, i > 0); err != nil {
			return err
		}
		if err := h.check(); err != nil {
			return err
		}
	}
	return nil
}

// pin has the name of the first proxy resolved by Lookup.
func (o *Outbound) pin(h *hop) {
	addr, err := netip.ParseAddr(h.host)
	switch {
	case err == nil:
		o.addr = addr
	case h.host != "" && h.base.Lookup != nil:
		n := &names{dialer: h.dialer, lookup: h.base.Lookup, host: h.host}
		o.names = append(o.names, n)
		h.dialer, h.lookup = n, n.lookupNetIP
	}
}

// hop is one URL, taken apart.
type hop struct {
	*options
	scheme         string
	user, password string // as the URL says
	host           string // "" for a Unix socket
	port           string // "" if the URL says none
	path           string // of a Unix socket
	base           Base

	dialer  outbound.Dialer         // reaches it
	packets outbound.PacketListener // the same for datagrams, or nil
	lookup  Lookup                  // of its name, or nil
}

// newHop takes a URL apart. The errors of package net/url quote what they are about,
// which may be a password, so they are not used.
func newHop(raw string, base Base) (*hop, error) {
	if raw == "" {
		return nil, errors.New("there is nothing")
	}
	if !hasScheme(raw) {
		raw = "socks5://" + raw
	}
	h := &hop{base: base}
	scheme, _, _ := strings.Cut(raw, "://")
	h.scheme = strings.ToLower(scheme)
	if h.scheme == "ss" {
		raw = plainShadowsocks(raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("this is not a URL: see that the port is a number, and that characters such as @ : / ? # % in a user name or password are written as %40 %3A %2F %3F %23 %25")
	}
	if strings.Contains(u.RawQuery, "@") { // half a password: options are named in errors
		return nil, errors.New("there is an @ behind the ?: write ? in a user name or password as %3F, and @ in an option as %40")
	}
	lookupEnv := base.LookupEnv
	if lookupEnv == nil {
		lookupEnv = os.LookupEnv
	}
	h.options = newOptions(u.RawQuery, lookupEnv)
	h.user = u.User.Username()
	h.password, _ = u.User.Password()
	h.host, h.port = u.Hostname(), u.Port()
	switch {
	case u.Opaque != "":
		return nil, errors.New("this is not a URL with //")
	case h.host == "" && strings.Trim(u.Path, "/") != "":
		h.path = u.Path
		if strings.HasPrefix(h.path, "/@") {
			h.path = h.path[1:]
		}
	case strings.Trim(u.Path, "/") != "":
		return nil, errors.New("there is a path behind the host")
	}
	if n, err := strconv.ParseUint(h.port, 10, 16); h.port != "" && (err != nil || n == 0) {
		return nil, errors.New("the port is no number from 1 to 65535")
	}
	return h, nil
}

// address returns the proxy's, with a port if the URL has none; "" is no default.
func (h *hop) address(port string) string {
	switch {
	case h.path != "":
		return h.path
	case h.host == "":
		h.fail("there is no host")
	case h.port != "":
		port = h.port
	case port == "":
		h.fail("there is no port")
	}
	return net.JoinHostPort(h.host, port)
}

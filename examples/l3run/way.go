package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/dns"
	"l3extract/adapters/fakeip"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/adapters/proxyurl"
	"l3extract/stack"
)

// way is how what the command sends leaves: from the host, or by a proxy and nothing
// else; and who answers its queries for names.
type way struct {
	in       instead
	host     *direct.Dialer     // dials from the host
	dialer   outbound.Dialer    // dials for the command: host, or the proxy's
	proxy    *proxyurl.Outbound // nil: none
	pool     *fakeip.Pool       // nil: names have their real addresses
	upstream dns.Upstream       // nil: nobody is asked
	names    *dns.Server
	pinned   sync.Map // of stack.FlowID, the fake address that a flow holds
}

// newWay opens the way that o says. host dials from the host; answered, if set, is told
// of the queries for names.
func newWay(o *options, in instead, host *direct.Dialer, answered func(dns.Answer)) (*way, error) {
	w := &way{in: in, host: host, dialer: host}
	if err := w.open(o, answered); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *way) open(o *options, answered func(dns.Answer)) (err error) {
	cfg := &dns.Config{OnAnswer: answered}
	var asked dns.Options
	if o.proxy != "" {
		if err := w.openProxy(o); err != nil {
			return err
		}
		asked = dns.Options{Dialer: w.dialer, ByName: true}
		cfg.Fake = w.pool
	}
	switch {
	case o.dns != "":
		w.upstream, err = dns.ParseUpstream(o.dns, &asked)
	case o.proxy == "":
		w.upstream = dns.System(nil, &asked)
	}
	if err != nil {
		return err
	}
	cfg.Upstream = w.upstream
	w.names, err = dns.New(cfg)
	return err
}

// openProxy looks the proxy's name up now: inside nobody will.
func (w *way) openProxy(o *options) (err error) {
	if w.proxy, err = proxyurl.Parse(o.proxy, proxyurl.Base{Dialer: w.host, Lookup: net.DefaultResolver.LookupNetIP}); err != nil {
		return err
	}
	w.dialer = w.proxy.Dialer
	if w.proxy.PacketListener == nil {
		// A type that could carry datagrams, and shall not.
		w.dialer = struct{ outbound.Dialer }{w.proxy.Dialer}
	}
	w.pool, err = fakeip.New(&fakeip.Config{Reserved: slices.Concat(insideAddrs, stackAddrs, o.loopback)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	return w.proxy.Resolve(ctx)
}

// lookUpTime bounds the lookup of the proxy's name, for which a command has to wait.
const lookUpTime = 10 * time.Second

// checkWay tells of a -proxy or -dns that cannot be.
func checkWay(o *options) error {
	if o.proxy != "" {
		p, err := proxyurl.Parse(o.proxy, proxyurl.Base{})
		if err != nil {
			return err
		}
		_ = p.Close()
	}
	if o.dns != "" {
		u, err := dns.ParseUpstream(o.dns, nil)
		if err != nil {
			return err
		}
		_ = u.Close()
	}
	return nil
}

// route is forward.Server's Route. Of all addresses that the policy refuses, only
// what something else stands for is reached.
func (w *way) route(_ context.Context, f outbound.Flow) (forward.Target, error) {
	dst := f.Destination
	// Behind a proxy whoever is asked for names is we: others would give real addresses.
	if dst.Port() == dnsPort && (w.proxy != nil || slices.Contains(stackAddrs, dst.Addr())) {
		return forward.Target{Trusted: true, Dialer: w.names, Handler: w.names}, nil
	}
	if w.in != nil {
		if real, ok := w.in(dst); ok {
			return forward.Target{Addr: real, Trusted: true, Dialer: w.host}, nil
		}
	}
	if w.proxy == nil {
		return forward.Target{}, nil
	}
	t := forward.Target{Dialer: w.dialer, PacketListener: w.proxy.PacketListener}
	name, fake, ok := w.names.NameOf(f.Source.Addr(), dst.Addr())
	if fake && !ok {
		return t, errNoName
	}
	if fake {
		t.Host = name
	}
	return t, nil
}

// errNoName refuses a flow (RST) to an address that stands for nothing any more.
var errNoName = &net.OpError{Op: "dial", Net: "ip", Err: nameless{}}

type nameless struct{}

func (nameless) Error() string { return "no name stands behind this address" }
func (nameless) Unwrap() error { return syscall.ECONNREFUSED }

// pin has t keep the names of fake addresses for as long as flows to them live.
func (w *way) pin(t *stack.Trace) {
	if w.pool == nil {
		return
	}
	closed := t.Close
	t.Open = func(f stack.Flow) {
		if a := f.Destination.Addr(); w.pool.Pin(a) {
			w.pinned.Store(f.ID, a)
		}
	}
	t.Close = func(f stack.Flow) {
		if a, ok := w.pinned.LoadAndDelete(f.ID); ok {
			w.pool.Unpin(a.(netip.Addr))
		}
		if closed != nil {
			closed(f)
		}
	}
}

// Close ends what is kept for flows to come.
func (w *way) Close() error {
	var errs []error
	if w.names != nil {
		errs = append(errs, w.names.Close())
	}
	if w.upstream != nil {
		errs = append(errs, w.upstream.Close())
	}
	if w.proxy != nil {
		errs = append(errs, w.proxy.Close())
	}
	return errors.Join(errs...)
}

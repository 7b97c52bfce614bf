package router

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// Router chooses outbounds by rules. All methods may be called at once; none waits.
type Router struct {
	table   atomic.Pointer[table]
	unnamed atomic.Uint64
}

// Unnamed is the cause of flows to a fake address that stands for no name.
const Unnamed = stack.Cause("fake address without a name")

// The errors of Route. They match what the client is told, and the cause of the flow's end.
var (
	// ErrUnnamed refuses flows to a fake address that stands for no name.
	ErrUnnamed = fmt.Errorf("router: %w (%w)", Unnamed, syscall.ECONNREFUSED)
	// ErrNoRule refuses flows that no rule matches, where there is no Default.
	ErrNoRule = fmt.Errorf("router: no rule matches, and there is no default: %w (%w)", stack.Policy, syscall.EACCES)
	// ErrUnable refuses flows of a network that their outbound does not carry.
	ErrUnable = fmt.Errorf("router: the outbound does not carry this network: %w (%w)", stack.Policy, syscall.EACCES)
)

// New returns a Router, or a *ConfigError.
func New(cfg *Config) (*Router, error) {
	r := new(Router)
	if err := r.Reload(cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// Reload has flows from now on go by cfg; those that are open go on as they are. If it
// returns an error, a *ConfigError, nothing has changed. The outbounds that are no longer
// used are the caller's to close, when their flows have ended.
func (r *Router) Reload(cfg *Config) error {
	if cfg == nil {
		cfg = new(Config)
	}
	t, err := newTable(cfg)
	if err == nil {
		r.table.Store(t)
	}
	return err
}

// Route is forward.Server's. It never waits: set RouteNeverWaits.
func (r *Router) Route(_ context.Context, f outbound.Flow) (forward.Target, error) {
	t := r.table.Load()
	s := subjectOf(&f)
	fake := false
	if t.names != nil {
		name, made, ok := t.names.NameOf(f.Source.Addr(), f.Destination.Addr())
		if made && !ok {
			r.unnamed.Add(1)
			return forward.Target{}, ErrUnnamed
		}
		if ok {
			s.name, fake = plainName(name), made
		}
	}
	out := t.fallback
	if i := t.find(&s); i >= 0 {
		t.hits[i].Add(1)
		out = t.rules[i].outbound
	} else {
		t.unmatched.Add(1)
	}
	if out < 0 {
		return forward.Target{}, ErrNoRule
	}
	t.used[out].Add(1)
	target, err := by(t.outbounds[out], s.network)
	if fake {
		target.Host = s.name
	}
	return target, err
}

// subjectOf is f as rules see it.
func subjectOf(f *outbound.Flow) subject {
	return subject{
		network: networkOf(f.Network), src: f.Source.Addr(), dst: f.Destination.Addr(),
		port: f.Destination.Port(), name: plainName(f.Name),
	}
}

// by is the Target of a flow that goes by o.
func by(o *Outbound, network networks) (forward.Target, error) {
	t := forward.Target{Optimistic: o.Optimistic, Trusted: o.Trusted}
	o = chosen(o, network)
	t.Dialer, t.PacketListener, t.Handler = o.Dialer, o.PacketListener, o.Handler
	// What is nil in a Target is the Server's, which is another way.
	switch {
	case network == isUDP && o.PacketListener == nil && o.Handler == nil, network != isUDP && o.Dialer == nil:
		return forward.Target{}, ErrUnable
	}
	return t, nil
}

// chosen is what a Failover has chosen, where the Server serves that better if it knows it
// as what it is: a way of this host's own, another Failover, a Handler; else o.
func chosen(o *Outbound, network networks) *Outbound {
	for {
		f, ok := o.Dialer.(*Failover)
		if !ok {
			return o
		}
		if network == isUDP && (o.Handler != nil || o.PacketListener != outbound.PacketListener(f)) {
			return o // its datagrams go another way than its streams
		}
		next := f.Pick()
		_, nested := next.Dialer.(*Failover)
		if !nested && !isHosts(next.Dialer) && (network != isUDP || next.Handler == nil) {
			return o
		}
		o = next
	}
}

// isHosts tells the dialers that dial from this host.
func isHosts(d outbound.Dialer) bool {
	switch d.(type) {
	case *direct.Dialer, *net.Dialer:
		return true
	}
	return false
}

// Sniff is forward.Server's: it tells the streams of Config.SniffPorts whose destination
// has no name in Config.Names.
func (r *Router) Sniff(f outbound.Flow) bool {
	t := r.table.Load()
	if f.Network != "tcp" || !inRanges(t.sniff, f.Destination.Port()) {
		return false
	}
	if t.names == nil {
		return true
	}
	_, fake, ok := t.names.NameOf(f.Source.Addr(), f.Destination.Addr())
	return !fake && !ok
}

// Find returns which rule f would go by, -1 for the default, and the name of its
// outbound, "" if it would be refused. Nothing is counted. Flow.Name counts as a name that
// was found.
func (r *Router) Find(f outbound.Flow) (rule int, name string) {
	t := r.table.Load()
	s := subjectOf(&f)
	rule = t.find(&s)
	out := t.fallback
	if rule >= 0 {
		out = t.rules[rule].outbound
	}
	if out < 0 {
		return rule, ""
	}
	return rule, t.outbounds[out].Name
}

// Stats is the account of a Router. But for Unnamed it begins anew with each Reload.
type Stats struct {
	Outbounds map[string]uint64 // flows by outbound: streams, destinations of UDP sockets, pings
	Rules     []uint64          // flows that matched, by rule
	Unmatched uint64            // flows that no rule matched
	Unnamed   uint64            // flows to fake addresses that stand for no name
}

// Stats returns the account as of now.
func (r *Router) Stats() Stats {
	t := r.table.Load()
	s := Stats{
		Outbounds: make(map[string]uint64, len(t.outbounds)), Rules: make([]uint64, len(t.rules)),
		Unmatched: t.unmatched.Load(), Unnamed: r.unnamed.Load(),
	}
	for i, o := range t.outbounds {
		s.Outbounds[o.Name] = t.used[i].Load()
	}
	for i := range s.Rules {
		s.Rules[i] = t.hits[i].Load()
	}
	return s
}

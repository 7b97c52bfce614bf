package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/stack"
	"l3extract/tcp"
)

// setDialer makes the dialers that obey the Policy. Those of package net judge
// each address just before they connect to it, so that no name, and no second
// look at a name, leads around the Policy.
func (n *session) setDialer() {
	f := n.srv
	n.plain, n.packets = f.Dialer, f.PacketListener
	if n.plain == nil {
		n.plain = new(direct.Dialer)
	}
	if n.packets == nil {
		n.packets, _ = n.plain.(PacketListener)
	}
	if d, ok := n.plain.(*direct.Dialer); ok && d.Timeout <= 0 { // a loop has one time for all
		n.dialer = d
	}
	n.judging, n.generic = n.withPolicy(n.plain)
}

// withPolicy returns d with the Policy, or d itself and true if it cannot be made to
// judge.
func (n *session) withPolicy(d Dialer) (judging Dialer, generic bool) {
	switch d := d.(type) {
	case *net.Dialer:
		judging := *d
		user := d.ControlContext
		if user == nil && d.Control != nil {
			user = func(_ context.Context, network, address string, c syscall.RawConn) error {
				return d.Control(network, address, c)
			}
		}
		judging.ControlContext = n.control(user)
		return &judging, false
	case *direct.Dialer:
		judging := *d
		judging.Control = n.control(d.Control)
		return &judging, false
	}
	return d, true
}

// control is called before a socket is connected, with the address that it is
// going to be connected to.
type control = func(ctx context.Context, network, address string, c syscall.RawConn) error

// control judges, then calls next if there is one.
func (n *session) control(next control) control {
	return func(ctx context.Context, network, address string, c syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return &PolicyError{Why: "no address: " + address}
		}
		if err := n.judge(ap.Addr()); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		return next(ctx, network, address, c)
	}
}

// upstream dials t for st, whose flow is f. Its errors are what a client is refused with.
func (n *session) upstream(ctx context.Context, st *tcp.Stream, f outbound.Flow, t *Target) (net.Conn, error) {
	if err := n.judgeTarget(t); err != nil {
		n.stats.policyStreams.Add(1)
		return nil, err
	}
	place, err := n.acquire(st, t)
	if err != nil {
		return nil, err
	}
	defer place.release()

	dctx, cancel := n.flowContext(ctx, f)
	defer cancel()
	w := n.watch(&dctx)
	defer w.end()
	place.wait(cancel)
	// The stream may end meanwhile: DecideTimeout, Stack.Kill.
	defer context.AfterFunc(st.Context(), cancel)()

	address := t.Addr.String()
	if t.Host != "" {
		address = net.JoinHostPort(t.Host, strconv.Itoa(int(t.Addr.Port())))
	}
	if !t.Trusted {
		dctx = context.WithValue(dctx, sessionKey{}, n)
	}
	dialer, after := n.dialerFor(t)
	n.stats.dials.Add(1)
	n.stats.dialing.Add(1)
	began := time.Now()
	dial := dialer.DialContext
	if early, ok := dialer.(outbound.EarlyDialer); ok && t.Optimistic {
		dial = early.DialEarly
	}
	c, err := dial(dctx, "tcp", address)
	if err == nil && after {
		c, err = n.judgeRemote(c)
	}
	if err != nil && w.gone.Load() {
		err = dialLost(err)
	}
	n.stats.dialing.Add(-1)
	if err != nil && place.cut() {
		err = os.ErrDeadlineExceeded // it was given too little time, for others
	}
	n.report(st, func() string { return address }, began, err)
	if errors.Is(err, stack.Policy) {
		n.stats.policyStreams.Add(1)
	}
	if err != nil {
		return nil, n.dialError(ctx, err)
	}
	return c, nil
}

// report tells of a dial that ended.
func (n *session) report(st *tcp.Stream, address func() string, began time.Time, err error) {
	if n.srv.OnDial == nil {
		return
	}
	n.srv.OnDial(Dial{
		ID: st.ID(), Network: "tcp", Source: st.Source(), Destination: st.Destination(),
		Address: address(), Took: time.Since(began), Err: err,
	})
}

// judgeTarget judges what can be judged of t before it is dialled.
func (n *session) judgeTarget(t *Target) error {
	switch {
	case t.Trusted:
		return nil
	case t.Host == "":
		return n.judge(t.Addr.Addr())
	case t.Dialer != nil && !n.srv.Policy.AllowLoopback && loopbackName(t.Host):
		return &PolicyError{Why: "loopback, as " + t.Host}
	}
	return nil
}

// loopbackName tells the names that are loopback's (RFC 6761, 6.3).
func loopbackName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// judgeRemote closes c if it is connected to what the Policy refuses.
func (n *session) judgeRemote(c net.Conn) (net.Conn, error) {
	if a := c.RemoteAddr(); a != nil {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			if err := n.judge(ap.Addr()); err != nil {
				_ = c.Close()
				return nil, err
			}
		}
	}
	return c, nil
}

var errLimited = fmt.Errorf("%w: too many dials in flight", stack.Limit)

// dialError returns an error that carries the cause of the flow's end and what
// the client is to be told.
func (n *session) dialError(ctx context.Context, err error) error {
	var refused *PolicyError
	if errors.As(err, &refused) {
		return refused
	}
	n.stats.dialsFailed.Add(1)
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", stack.Ended, err)
	}
	cause := stack.DialFailed
	if errors.Is(err, stack.PathLost) {
		cause = stack.PathLost
	}
	if errno := unreachable(err); errno != 0 {
		return fmt.Errorf("%w: %w (%w)", cause, err, errno)
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// unreachable names what a client should be told of an error that is not an
// errno that clients know; 0 for one that is, or is nothing of the kind.
func unreachable(err error) syscall.Errno {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return syscall.EHOSTUNREACH
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return syscall.ENETUNREACH // no address of this family
	}
	return systemErrno(err)
}

package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"l3extract/adapters/direct"
	"l3extract/internal/limit"
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
	switch d := n.plain.(type) {
	case *net.Dialer:
		judging := *d
		user := d.ControlContext
		if user == nil && d.Control != nil {
			user = func(_ context.Context, network, address string, c syscall.RawConn) error {
				return d.Control(network, address, c)
			}
		}
		judging.ControlContext = n.control(user)
		n.judging = &judging
	case *direct.Dialer:
		if d.Timeout <= 0 { // a loop has one time for all
			n.dialer = d
		}
		judging := *d
		judging.Control = n.control(d.Control)
		n.judging = &judging
	default:
		n.judging, n.generic = d, true
	}
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

// upstream dials t for st. Its errors are what a client is refused with.
func (n *session) upstream(ctx context.Context, st *tcp.Stream, t Target) (net.Conn, error) {
	if !t.Trusted && t.Host == "" {
		if err := n.judge(t.Addr.Addr()); err != nil {
			n.stats.policyStreams.Add(1)
			return nil, err
		}
	}
	if err := n.acquire(st, t); err != nil {
		return nil, err
	}
	defer n.dials.Release(st.Source().Addr(), t.Addr)

	dctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if n.dialTimeout > 0 {
		dctx, cancel = context.WithTimeout(dctx, n.dialTimeout)
		defer cancel()
	}
	// The stream may end meanwhile: DecideTimeout, Stack.Kill.
	defer context.AfterFunc(st.Context(), cancel)()

	address := t.Addr.String()
	if t.Host != "" {
		address = net.JoinHostPort(t.Host, strconv.Itoa(int(t.Addr.Port())))
	}
	dialer := n.judging
	if t.Trusted {
		dialer = n.plain
	}
	n.stats.dials.Add(1)
	n.stats.dialing.Add(1)
	began := time.Now()
	c, err := dialer.DialContext(dctx, "tcp", address)
	if err == nil && t.Host != "" && n.generic && !t.Trusted {
		c, err = n.judgeRemote(c)
	}
	n.stats.dialing.Add(-1)
	n.report(st, func() string { return address }, began, err)
	if errors.Is(err, stack.Policy) {
		n.stats.policyStreams.Add(1)
	}
	if err != nil {
		return nil, n.dialError(ctx, err)
	}
	return c, nil
}

// acquire takes a dial's place, which is released by its target.
func (n *session) acquire(st *tcp.Stream, t Target) error {
	if n.dials.Acquire(st.Source().Addr(), t.Addr) != limit.OK {
		n.stats.limited.Add(1)
		return errLimited
	}
	return nil
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
	if errno := unreachable(err); errno != 0 {
		return fmt.Errorf("%w: %w (%w)", stack.DialFailed, err, errno)
	}
	return fmt.Errorf("%w: %w", stack.DialFailed, err)
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

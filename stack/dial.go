package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// attemptDelay is the Connection Attempt Delay of RFC 8305, section 8.
const attemptDelay = 250 * time.Millisecond

// errNoResolver explains why a name was refused.
var errNoResolver = errors.New("names need stack.Config.Resolver, for example stack.DNS(server): the host's resolver would ask outside the packet conn")

// opError is the one shape of the errors of Dial and Listen: that of a table below,
// which is one already, keeps its ends and gets the caller's network.
func opError(op, network string, addr net.Addr, err error) error {
	if already, ok := err.(*net.OpError); ok && already.Op == op {
		e := *already
		e.Net = network
		return &e
	}
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}

// hostport is an address as the caller wrote it, for errors.
type hostport struct{ network, address string }

func (h hostport) Network() string { return h.network }
func (h hostport) String() string  { return h.address }

// DialContext opens a connection from one of the Stack's own addresses to a host
// behind the packet conn; it fits the DialContext of net.Dialer and
// http.Transport. Networks are "tcp", "udp" and each with "4" or "6". Names are
// resolved by Config.Resolver and tried as in RFC 8305; before Run it waits.
//
// Errors are *net.OpError: EADDRNOTAVAIL when Config.Addrs has no address of the
// family, ECONNREFUSED (for an own address as target, too), EHOSTUNREACH,
// ENETUNREACH, ETIMEDOUT, the context's cause, or net.ErrClosed once the Stack
// ends.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	kind, family, err := splitNetwork(network)
	if err == nil && kind == "ip" {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return nil, opError("dial", network, nil, err)
	}
	where := hostport{network, address}
	targets, err := s.targets(ctx, kind, family, address)
	if err != nil {
		return nil, opError("dial", network, where, err)
	}
	var c net.Conn
	if kind == "udp" {
		c, err = s.dialUDP(ctx, targets[0])
	} else {
		c, err = race(ctx, targets, s.dialTCP)
	}
	if err != nil {
		return nil, opError("dial", network, where, err)
	}
	return c, nil
}

// splitNetwork returns "tcp" or "udp", and the family "ip", "ip4" or "ip6".
func splitNetwork(network string) (kind, family string, err error) {
	kind = strings.TrimRight(network, "46")
	family = "ip" + network[len(kind):]
	if (kind != "tcp" && kind != "udp") || len(family) > 3 {
		return "", "", net.UnknownNetworkError(network)
	}
	return kind, family, nil
}

// targets resolves address into what may be dialled, in the order of trying.
func (s *Stack) targets(ctx context.Context, kind, family, address string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, kind, service)
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		found = []netip.Addr{a.Unmap().WithZone("")}
	} else if host == "" {
		return nil, &net.AddrError{Err: "missing host", Addr: address}
	} else if s.cfg.Resolver == nil {
		return nil, fmt.Errorf("lookup %s: %w", host, errNoResolver)
	} else if found, err = s.cfg.Resolver.LookupNetIP(ctx, family, host); err != nil {
		return nil, err
	}
	var v6, v4 []netip.AddrPort
	for _, a := range found {
		switch a = a.Unmap(); {
		case a.Is4() && family != "ip6":
			v4 = append(v4, netip.AddrPortFrom(a, uint16(port)))
		case a.Is6() && family != "ip4":
			v6 = append(v6, netip.AddrPortFrom(a.WithZone(""), uint16(port)))
		}
	}
	// A family in which we have no address of our own is not tried if the other
	// one can be.
	if len(v4) > 0 && len(v6) > 0 {
		if _, err := s.source(v6[0].Addr()); err != nil {
			v6 = nil
		} else if _, err := s.source(v4[0].Addr()); err != nil {
			v4 = nil
		}
	}
	all := interleave(v6, v4)
	if len(all) == 0 {
		return nil, &net.AddrError{Err: "no address of family " + family, Addr: host}
	}
	return all, nil
}

// interleave takes from a and b in turn, as RFC 8305 section 4 wants.
func interleave(a, b []netip.AddrPort) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(a)+len(b))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) {
			out = append(out, b[i])
		}
	}
	return out
}

// source returns the own address from which dst is dialled: the one whose
// network holds dst, else the first of the family.
func (s *Stack) source(dst netip.Addr) (netip.Addr, error) {
	var first netip.Addr
	for _, p := range s.cfg.Addrs {
		if p.Addr().Is4() != dst.Is4() {
			continue
		}
		if p.Contains(dst) {
			return p.Addr(), nil
		}
		if !first.IsValid() {
			first = p.Addr()
		}
	}
	if !first.IsValid() {
		return first, fmt.Errorf("stack.Config.Addrs has no address for %v: %w", dst, syscall.EADDRNOTAVAIL)
	}
	return first, nil
}

// local checks that dst may be dialled and says from where.
func (s *Stack) local(dst netip.AddrPort) (netip.Addr, error) {
	if s.icmp.own[dst.Addr()] {
		return netip.Addr{}, fmt.Errorf("%v is an own address of the stack: %w", dst.Addr(), syscall.ECONNREFUSED)
	}
	if a := dst.Addr(); a.IsLoopback() || a.IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("%v is not behind the packet conn: %w", a, syscall.ENETUNREACH)
	}
	return s.source(dst.Addr())
}

func (s *Stack) dialTCP(ctx context.Context, dst netip.AddrPort) (net.Conn, error) {
	if a := dst.Addr(); s.door.ToMany(a) {
		return nil, fmt.Errorf("%v is not the address of one host: %w", a, syscall.ENETUNREACH)
	}
	src, err := s.local(dst)
	if err != nil {
		return nil, err
	}
	engine, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	return s.tcp.dial(ctx, engine, netip.AddrPortFrom(src, 0), dst)
}

func (s *Stack) dialUDP(ctx context.Context, dst netip.AddrPort) (net.Conn, error) {
	src, err := s.local(dst)
	if err != nil {
		return nil, err
	}
	if _, err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s.udp.table.Dial(netip.AddrPortFrom(src, 0), dst)
}

// race dials the targets one after the other, each attemptDelay behind the one
// before or at once when that failed, and returns the first connection; the rest
// is ended and waited for.
func race(ctx context.Context, targets []netip.AddrPort, dial func(context.Context, netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	if len(targets) == 1 {
		return dial(ctx, targets[0])
	}
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	var (
		first    error
		won      net.Conn
		next, up int
	)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next < len(targets) || up > 0 {
		var start <-chan time.Time
		if next < len(targets) && won == nil {
			start = timer.C
		} else if up == 0 {
			break
		}
		select {
		case <-start:
			target := targets[next]
			next++
			up++
			timer.Reset(attemptDelay)
			go func() { // one attempt; awaited below, because up counts it
				c, err := dial(ctx, target)
				results <- result{c, err}
			}()
		case r := <-results:
			up--
			switch {
			case r.err != nil:
				if first == nil {
					first = r.err
				}
				timer.Reset(0)
			case won == nil:
				won = r.conn
				cancel()
			default:
				_ = r.conn.Close() // came second
			}
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, first
}

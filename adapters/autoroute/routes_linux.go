package autoroute

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// refuseMetric is worse than that of any route into a tunnel.
const refuseMetric = 1<<31 - 1

// routeKey is what tells two routes of ours apart.
type routeKey struct {
	route
	index int // of the interface; 0 for those that refuse
}

func keyOf(n netlink.Route) routeKey {
	k := routeKey{route: route{table: n.Table, to: prefixOf(n.Dst), refuse: n.Type == unix.RTN_UNREACHABLE}}
	if n.Dst == nil {
		k.to = all4
		if n.Family == unix.AF_INET6 {
			k.to = all6
		}
	}
	if !k.refuse { // the kernel names the loopback interface for those
		k.index = n.LinkIndex
	}
	return k
}

// ourRoutes lists the routes of this package, whatever their table.
func (k *kernel) ourRoutes() (ours []netlink.Route, err error) {
	for _, family := range k.families() {
		filter := &netlink.Route{Protocol: Protocol, Table: unix.RT_TABLE_UNSPEC}
		some, err := again(func() ([]netlink.Route, error) {
			return k.h.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		ours = append(ours, some...)
	}
	return ours, nil
}

// setRoutes adds the routes that are wanted and returns a function that removes the
// others, for when the rules are as they should be.
func (k *kernel) setRoutes(link netlink.Link, want []route) (dropOthers func() error, err error) {
	have, err := k.ourRoutes()
	if err != nil {
		return nil, err
	}
	wanted := make(map[routeKey]bool)
	for _, r := range want {
		if r.to.Addr().Is6() && !k.hasIPv6 {
			continue
		}
		n := &netlink.Route{
			Family: familyOf(r.to.Addr().Is6()), Table: r.table, Dst: ipNet(r.to), Protocol: Protocol,
			LinkIndex: link.Attrs().Index,
		}
		key := routeKey{r, n.LinkIndex}
		if r.refuse {
			n.Type, n.LinkIndex, n.Priority, key.index = unix.RTN_UNREACHABLE, 0, refuseMetric, 0
		} else if r.to.Addr().Is4() {
			n.Scope = netlink.SCOPE_LINK
		}
		wanted[key] = true
		if err := k.h.RouteReplace(n); err != nil {
			return nil, fmt.Errorf("add route %v to table %d: %w", r.to, r.table, err)
		}
	}
	return func() error {
		return k.dropRoutes(have, func(n netlink.Route) bool { return !wanted[keyOf(n)] })
	}, nil
}

// dropRoutes removes those of the routes that drop tells.
func (k *kernel) dropRoutes(have []netlink.Route, drop func(netlink.Route) bool) error {
	var errs []error
	for _, n := range have {
		if !drop(n) {
			continue
		}
		if err := k.h.RouteDel(&n); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %v of table %d: %w", keyOf(n).to, n.Table, err))
		}
	}
	return join(errs...)
}

// rival names an interface other than ours into which routes of ours lead, and which
// is in use: a TUN whose program has gone has no carrier, if it is there at all.
func (k *kernel) rival(ours int) (string, error) {
	routes, err := k.ourRoutes()
	if err != nil {
		return "", err
	}
	for _, r := range routes {
		if r.Type == unix.RTN_UNREACHABLE || r.LinkIndex == ours || r.LinkIndex == 0 {
			continue
		}
		link, err := k.h.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue // it has just gone
		}
		if a := link.Attrs(); a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0 {
			return a.Name, nil
		}
	}
	return "", nil
}

package autoroute

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkBefore is what was changed of the interface.
type linkBefore struct {
	index int
	mtu   int  // as it was; 0: it is as it was
	down  bool // it was down
	no6   bool // IPv6 was switched off
	added []netip.Prefix
}

// setLink gives the interface its MTU and addresses and sets it up. What it has done is
// in before, also when it fails.
func (k *kernel) setLink(link netlink.Link, c *Config, before *linkBefore) (err error) {
	a := link.Attrs()
	before.index = a.Index
	if c.MTU != 0 && c.MTU != a.MTU {
		if err := k.h.LinkSetMTU(link, c.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", c.MTU, err)
		}
		before.mtu = a.MTU
	}
	if c.carries(true) && k.hasIPv6 {
		if mtu := cmp.Or(c.MTU, a.MTU); mtu < 1280 {
			return fmt.Errorf("its MTU %d is below 1280, which IPv6 in Config.Addrs needs", mtu)
		}
		if before.no6, err = k.allowIPv6(a.Name); err != nil {
			return err
		}
	}
	if a.Flags&net.FlagUp == 0 {
		if err := k.h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
		before.down = true
	}
	for _, p := range c.Addrs {
		if p.Addr().Is6() && !k.hasIPv6 {
			continue
		}
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // nobody else is on this link; usable at once
		}
		switch err := k.h.AddrAdd(link, addr); {
		case errors.Is(err, unix.EEXIST):
		case err != nil:
			return fmt.Errorf("add address %v: %w", p, err)
		default:
			before.added = append(before.added, p)
		}
	}
	return k.awaitIPv6(c.Addrs)
}

// undoLink makes the interface what it was, if it is still there.
func (k *kernel) undoLink(b linkBefore) error {
	link, err := k.h.LinkByIndex(b.index)
	if err != nil {
		return nil
	}
	var errs []error
	for _, p := range b.added {
		if err := k.h.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove address %v: %w", p, err))
		}
	}
	if b.no6 {
		errs = append(errs, os.WriteFile(noIPv6(link.Attrs().Name), []byte("1"), 0))
	}
	if b.down {
		errs = append(errs, k.h.LinkSetDown(link))
	}
	if b.mtu != 0 {
		errs = append(errs, k.h.LinkSetMTU(link, b.mtu))
	}
	return join(errs...)
}

// usable bounds the wait for the kernel's own work on an address. It takes milliseconds,
// and seconds where many make and remove interfaces at once: it needs the lock of all.
const usable = 30 * time.Second

// awaitIPv6 waits until the host takes packets to its new IPv6 addresses: the kernel
// inserts the route that makes it do so from a work queue.
func (k *kernel) awaitIPv6(addrs []netip.Prefix) error {
	for _, p := range addrs {
		if p.Addr().Is4() || !k.hasIPv6 {
			continue
		}
		for give := time.Now().Add(usable); ; time.Sleep(time.Millisecond) {
			routes, err := k.h.RouteGet(p.Addr().AsSlice())
			if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
				break
			}
			if time.Now().After(give) {
				return fmt.Errorf("address %v does not become usable (%v)", p, err)
			}
		}
	}
	return nil
}

// noIPv6 is the switch that keeps IPv6 from an interface.
func noIPv6(name string) string { return "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6" }

// allowIPv6 switches IPv6 on for the interface, and tells whether it was off: containers
// often start so.
func (k *kernel) allowIPv6(name string) (wasOff bool, err error) {
	b, err := os.ReadFile(noIPv6(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, errors.New("/proc/sys is not mounted, or of another namespace")
	case err != nil:
		return false, err
	case strings.TrimSpace(string(b)) == "0":
		return false, nil
	}
	if err := os.WriteFile(noIPv6(name), []byte("0"), 0); err != nil {
		return false, fmt.Errorf("IPv6 is switched off for it: %w", err)
	}
	return true, nil
}

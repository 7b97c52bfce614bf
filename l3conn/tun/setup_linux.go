package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setUp gives the interface what c asks for and returns its MTU. It runs on a
// thread in the interface's namespace and asks for nothing that is so already,
// because a user who was given an interface may open but not change it.
func setUp(name string, c Config) (mtu int, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("netlink: %w", err)
	}
	mtu = link.Attrs().MTU
	if c.MTU != 0 && c.MTU != mtu {
		if err := h.LinkSetMTU(link, c.MTU); err != nil {
			return 0, fmt.Errorf("set MTU %d: %w", c.MTU, err)
		}
		mtu = c.MTU
	}
	if hasV6(c.Addrs) || hasV6(c.Routes) {
		if mtu < MinMTU6 {
			return 0, fmt.Errorf("its MTU %d is below %d, which IPv6 in Config.Addrs or Config.Routes needs", mtu, MinMTU6)
		}
		if err := allowIPv6(name); err != nil {
			return 0, err
		}
	}
	if !c.LeaveDown && link.Attrs().Flags&net.FlagUp == 0 {
		if err := h.LinkSetUp(link); err != nil {
			return 0, fmt.Errorf("set up: %w", err)
		}
	}
	for _, p := range c.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // nobody else is on this link; usable at once
		}
		if err := h.AddrReplace(link, addr); err != nil {
			return 0, fmt.Errorf("add address %v: %w", p, err)
		}
	}
	for _, p := range c.Routes {
		if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p.Masked())}); err != nil {
			return 0, fmt.Errorf("add route %v: %w", p, err)
		}
	}
	return mtu, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func hasV6(prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// allowIPv6 switches IPv6 on for the interface: containers often start with it
// off by default for every interface to come.
func allowIPv6(name string) error {
	path := "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the kernel has no IPv6, or /proc is not mounted")
	case err != nil:
		return err
	case strings.TrimSpace(string(b)) == "0":
		return nil
	}
	if err := os.WriteFile(path, []byte("0"), 0); err != nil {
		return fmt.Errorf("IPv6 is switched off for it: %w", err)
	}
	return nil
}

// interfaceMTU asks this thread's namespace.
func interfaceMTU(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return i.MTU, nil
}

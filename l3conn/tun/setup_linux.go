package tun

import (
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
	if err := setQueueLength(h, link, c.QueueLength); err != nil {
		return 0, err
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
	if !c.LeaveDown {
		if err := awaitIPv6(h, c.Addrs); err != nil {
			return 0, err
		}
	}
	for _, p := range c.Routes {
		if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p.Masked())}); err != nil {
			return 0, fmt.Errorf("add route %v: %w", p, err)
		}
	}
	return mtu, nil
}

// Packets that a TUN queues. With the kernel's own length a plain conn that eight
// streams fill loses 10 % of what they send, with 2000 2 %, with 8000 nothing, and
// a SYN is among what is lost. An entry is a pointer; what local senders can have in it is
// bounded by their own buffers, what a router passes on only by the length.
const (
	kernelsQueueLength = 500
	defaultQueueLength = 8192
)

func setQueueLength(h *netlink.Handle, link netlink.Link, want int) error {
	has := link.Attrs().TxQLen
	switch {
	case want < 0 || want == has || want == 0 && has != kernelsQueueLength:
		return nil
	case want > 0:
		if err := h.LinkSetTxQLen(link, want); err != nil {
			return fmt.Errorf("Config.QueueLength %d: %w", want, err)
		}
	default:
		_ = h.LinkSetTxQLen(link, defaultQueueLength) // an interface of the user's may not be changed
	}
	return nil
}

// patience bounds the wait for the kernel's own work on an address, which takes
// milliseconds where the machine is busy.
const patience = 5 * time.Second

// awaitIPv6 waits until the host takes packets to its new IPv6 addresses: the
// kernel inserts the route that makes it do so from a work queue, also where no
// duplicate address detection is asked for, and drops what comes earlier.
func awaitIPv6(h *netlink.Handle, addrs []netip.Prefix) error {
	for _, p := range addrs {
		if p.Addr().Is4() {
			continue
		}
		for give := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			routes, err := h.RouteGet(p.Addr().AsSlice())
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

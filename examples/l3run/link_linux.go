package main

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"l3extract/l3conn/tun"
)

// quiet are settings of the namespace that the device is made with. They are
// wishes: where /proc/sys is read-only the device says a few words more than the
// command did.
func quiet() map[string]string {
	return map[string]string{
		"/proc/sys/net/ipv6/conf/default/addr_gen_mode":        "1", // no link-local address of its own
		"/proc/sys/net/ipv6/conf/default/accept_ra":            "0", // nobody advertises here
		"/proc/sys/net/ipv6/conf/default/router_solicitations": "0",
		"/proc/sys/net/ipv6/conf/default/accept_dad":           "0", // addresses are usable at once
		// ping without privileges, for the stack's own addresses.
		"/proc/sys/net/ipv4/ping_group_range": fmt.Sprintf("%d %[1]d", os.Getegid()),
	}
}

// openDevice brings the loopback up and makes the TUN device, up, with its
// addresses and the default routes; without IPv6 where the kernel has none, or
// does not let us switch it on.
func openDevice(o *orders) (*tun.Device, error) {
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	for name, value := range quiet() {
		_ = os.WriteFile(name, []byte(value), 0)
	}
	device, err := tun.Open(deviceConfig(o, true))
	if err == nil {
		return device, nil
	}
	if device, again := tun.Open(deviceConfig(o, false)); again == nil {
		return device, nil
	}
	return nil, err
}

func deviceConfig(o *orders, ipv6 bool) *tun.Config {
	c := &tun.Config{Name: deviceName, MTU: o.MTU}
	for _, a := range o.Addrs {
		if a.Is6() && !ipv6 {
			continue
		}
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if a.Is6() {
			everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		c.Addrs = append(c.Addrs, netip.PrefixFrom(a, a.BitLen()))
		c.Routes = append(c.Routes, everything)
	}
	return c
}

// loopbackUp sets lo up, which has its addresses then.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return os.NewSyscallError("ioctl(SIOCGIFFLAGS)", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("ioctl(SIOCSIFFLAGS)", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}

// fileOf returns a copy of the device's descriptor, to be handed on.
func fileOf(device *tun.Device) (*os.File, error) {
	raw, err := device.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	return os.NewFile(uintptr(fd), device.Name()), nil
}

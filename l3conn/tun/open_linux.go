package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// clone is the device whose every open file can become an interface.
const clone = "/dev/net/tun"

// open makes the interface on a thread that is in its namespace.
func open(c Config) (dev *Device, err error) {
	if c.NetNS == "" {
		return openHere(c)
	}
	nsErr := inNetNS(c.NetNS, func() { dev, err = openHere(c) })
	if nsErr != nil {
		return nil, fmt.Errorf("tun: Config.NetNS: %w", nsErr)
	}
	return dev, err
}

func openHere(c Config) (*Device, error) {
	fd, err := unix.Open(clone, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(err)
	}
	dev, err := openFD(fd, c)
	if err != nil {
		unix.Close(fd) // and with it the interface, if it is fresh
		return nil, err
	}
	return dev, nil
}

func openFD(fd int, c Config) (*Device, error) {
	ifr, err := unix.NewIfreq(c.Name)
	if err != nil {
		return nil, fmt.Errorf("tun: Config.Name %q: %w", c.Name, err)
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if !c.NoOffload {
		flags |= unix.IFF_VNET_HDR
	}
	if c.MultiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return nil, attachError(c.Name, err)
	}
	name := ifr.Name()
	off, err := askOffload(fd, flags)
	if err != nil {
		return nil, fmt.Errorf("tun: interface %s: %w", name, err)
	}
	mtu, err := setUp(name, c)
	if err != nil {
		return nil, fmt.Errorf("tun: interface %s: %w", name, err)
	}
	if c.Persist { // last, so that a failure leaves nothing behind
		if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
			return nil, fmt.Errorf("tun: interface %s: Config.Persist: %w", name, err)
		}
	}
	return newPolled(fd, name, mtu, off)
}

// openError says what to do about a clone device that does not open.
func openError(err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = " (load the kernel module tun; a container needs the device given to it)"
	case err == unix.ENODEV || err == unix.ENXIO:
		hint = " (the kernel has no TUN support: load the module tun)"
	case errors.Is(err, fs.ErrPermission):
		hint = " (its mode is usually 0666; some systems keep it for root)"
	}
	return fmt.Errorf("tun: open %s: %w%s", clone, err, hint)
}

// attachError says why the interface was not ours to have.
func attachError(name string, err error) error {
	what := "a fresh interface"
	if name != "" {
		what = "interface " + name
	}
	hint := ""
	switch err {
	case unix.EPERM:
		hint = " (needs CAP_NET_ADMIN in the network namespace, or an interface made for this user by ip tuntap add)"
	case unix.EBUSY:
		hint = " (the name is taken: another program has the interface open)"
	case unix.EINVAL:
		hint = " (the name is taken by an interface that is not a TUN, or Config.MultiQueue is not as it was when that was made)"
	}
	return fmt.Errorf("tun: %s: %w%s", what, err, hint)
}

func fromFile(f *os.File, mtu int) (*Device, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	// A copy, because the poller may know f from before it had an interface.
	var fd int
	var dupErr error
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("fcntl", dupErr)); err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	dev, err := fromFD(fd, mtu)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	f.Close()
	return dev, nil
}

func fromFD(fd, mtu int) (*Device, error) {
	name, off, err := adopted(fd)
	if err != nil {
		return nil, fmt.Errorf("tun: file descriptor %d: %w", fd, err)
	}
	if mtu == 0 {
		mtu = askMTU(fd, name)
	}
	dev, err := newPolled(fd, name, mtu, off)
	if err != nil {
		return nil, fmt.Errorf("tun: file descriptor %d: %w", fd, err)
	}
	dev.dev.unsure, dev.dev.given = true, true
	return dev, nil
}

// adopted checks that fd carries IP packets and returns its interface's name
// and what stands in front of them. A system that forbids the question (Android)
// is believed to have nothing there.
func adopted(fd int) (name string, off offload, err error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", off, err
	}
	switch err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); {
	case err == unix.EACCES || err == unix.EPERM:
		return "", off, nil
	case err == unix.EBADFD:
		return "", off, fmt.Errorf("it has no interface: %w", err)
	case err != nil:
		return "", off, fmt.Errorf("it is not a TUN: %w", err)
	}
	// IFF_NO_PI is not among the questions: its bit is that of IFF_NOFILTER here.
	flags := ifr.Uint16()
	if flags&unix.IFF_TAP != 0 {
		return "", off, errors.New("it is a TAP, which carries Ethernet frames")
	}
	if flags&unix.IFF_VNET_HDR != 0 {
		off, err = askOffload(fd, flags)
	}
	return ifr.Name(), off, err
}

// askMTU asks for the MTU of an interface that is provably in this namespace; a
// name alone proves nothing.
func askMTU(fd int, name string) int {
	mtu := l3conn.DefaultMTU
	onThread(func() {
		ns, err := unix.IoctlRetInt(fd, unix.TUNGETDEVNETNS)
		if err != nil {
			return // old kernel, or forbidden
		}
		defer unix.Close(ns)
		var there, here unix.Stat_t
		if unix.Fstat(ns, &there) != nil || unix.Stat(threadNetNS, &here) != nil ||
			there.Dev != here.Dev || there.Ino != here.Ino {
			return
		}
		if m, err := interfaceMTU(name); err == nil {
			mtu = m
		}
	})
	return mtu
}

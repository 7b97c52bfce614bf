//go:build darwin || freebsd || openbsd

package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
)

func fromFile(f *os.File, mtu int) (*Device, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	var fd int
	var dupErr error
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("fcntl", dupErr)); err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	dev, err := adopt(fd, mtu)
	if err != nil {
		return nil, err
	}
	f.Close()
	return dev, nil
}

func fromFD(fd, mtu int) (*Device, error) {
	// A copy, because WireGuard's package closes what it cannot use.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tun: file descriptor %d: %w", fd, err)
	}
	dev, err := adopt(own, mtu)
	if err != nil {
		return nil, err
	}
	unix.Close(fd)
	return dev, nil
}

// adopt takes fd over, also when it fails.
func adopt(fd, mtu int) (*Device, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun: %w", err)
	}
	asked := mtu
	if mtu == 0 {
		mtu = l3conn.DefaultMTU
		if runtime.GOOS == "freebsd" || runtime.GOOS == "openbsd" {
			asked = mtu // there WireGuard's package sets it in any case
		}
	}
	wg, err := wgtun.CreateTUNFromFile(os.NewFile(uintptr(fd), "tun"), asked)
	if err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	return wrap(wg, mtu)
}

package ether

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// Tap is a carrier on a tap interface: the kernel, with all that is behind the interface,
// is a guest. Errors are *net.OpError, but for those that l3conn names.
type Tap struct {
	f       *os.File
	name    string
	closing func() error
}

// OpenTap makes a tap interface of this name, or takes an existing one; "" lets the kernel
// choose one. It needs CAP_NET_ADMIN, or an interface that was made for this user by "ip
// tuntap add". Nothing else of the interface is changed: it has to be set up, may be moved to
// another network namespace or made a port of a bridge, and is gone with Close if it is new.
func OpenTap(name string) (*Tap, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("ether: tap %q: %w", name, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("ether: open /dev/net/tun: %w", err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		hint := ""
		switch err {
		case unix.EPERM:
			hint = " (needs CAP_NET_ADMIN, or an interface made for this user by ip tuntap add mode tap)"
		case unix.EBUSY:
			hint = " (another program has the interface open)"
		case unix.EINVAL:
			hint = " (the name is taken by an interface that is not a tap)"
		}
		return nil, fmt.Errorf("ether: tap %q: %w%s", name, err, hint)
	}
	t := &Tap{f: os.NewFile(uintptr(fd), "tap "+ifr.Name()), name: ifr.Name()}
	t.closing = sync.OnceValue(func() error { return t.error("close", t.f.Close()) })
	return t, nil
}

// Name is the interface's name when it was opened.
func (t *Tap) Name() string { return t.name }

// Read waits for a frame. One that does not fit is l3conn.ErrShortBuffer if b has less than
// 64 KiB.
func (t *Tap) Read(b []byte) (int, error) {
	n, err := t.f.Read(b)
	if err != nil {
		return 0, t.error("read", err)
	}
	if n == len(b) && n < maxFrame { // the kernel cuts off what does not fit, and does not say so
		return 0, l3conn.ErrShortBuffer
	}
	return n, nil
}

// Write gives a frame to the kernel.
func (t *Tap) Write(f []byte) (int, error) {
	if len(f) == 0 {
		return 0, nil
	}
	n, err := t.f.Write(f)
	if err != nil {
		return 0, t.error("write", err)
	}
	return n, nil
}

// SetReadDeadline implements l3conn.ReadDeadliner.
func (t *Tap) SetReadDeadline(at time.Time) error { return t.error("set", t.f.SetReadDeadline(at)) }

// SetWriteDeadline implements l3conn.WriteDeadliner.
func (t *Tap) SetWriteDeadline(at time.Time) error { return t.error("set", t.f.SetWriteDeadline(at)) }

// Close ends blocked calls and gives the interface back. It may be called again and
// returns the same.
func (t *Tap) Close() error { return t.closing() }

// error puts what the system says into the words of l3conn.
func (t *Tap) error(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrClosed):
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	case op == "write" && errors.Is(err, syscall.EIO):
		return l3conn.ErrDown // the interface is not up
	case op == "write" && (errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)):
		return l3conn.ErrNoBuffers
	case t.gone():
		err = fmt.Errorf("the interface was removed: %w", syscall.ENODEV)
	default:
		if path := (*os.PathError)(nil); errors.As(err, &path) {
			err = os.NewSyscallError(path.Op, path.Err)
		}
	}
	return &net.OpError{Op: op, Net: "tap", Err: err}
}

// gone reports whether the interface was removed, which not every error says.
func (t *Tap) gone() bool {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return false
	}
	var said error
	err = raw.Control(func(fd uintptr) {
		ifr, _ := unix.NewIfreq("")
		said = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr)
	})
	return err == nil && said == unix.EBADFD
}

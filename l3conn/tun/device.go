package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/l3conn"
)

// Device is an open TUN interface, an l3conn.Conn. What it can do beyond that
// depends on the system: ask l3conn.Probe.
//
// One goroutine may read and any number may write at once; all other methods
// may be called from anywhere at any time. Errors are *net.OpError, but for
// those that l3conn names.
type Device struct {
	dev    *device // the system's part
	name   string
	closed atomic.Bool  // set before the system's close
	close  func() error // once
}

// errGone is what a Device gives whose interface was deleted.
var errGone = fmt.Errorf("the interface was removed: %w", syscall.ENODEV)

// Open makes an interface, or takes an existing one, as c says.
func Open(c *Config) (*Device, error) {
	var cfg Config
	if c != nil {
		cfg = *c
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return open(cfg)
}

// FromFile takes over a TUN that is open as f: one received from another
// process, or made by the application's own means. It must carry bare IP packets
// (on Linux IFF_TUN with IFF_NO_PI, which the first Read checks; with IFF_VNET_HDR
// the Device can offload, and the kernel's offload is off at first). mtu is the
// interface's MTU in bytes; 0 means: ask the system if it lets us (on Linux only
// about an interface in this network namespace), else 1500. Nothing of the
// interface is changed, except that its file becomes non-blocking for everybody
// who shares it; WireGuard's package, on the other systems, sets the MTU too.
//
// After success f is closed and the Device owns the interface; after an error f
// is still the caller's.
func FromFile(f *os.File, mtu int) (*Device, error) {
	if err := validAdopted(mtu); err != nil {
		return nil, err
	}
	return fromFile(f, mtu)
}

// FromFD is FromFile for a bare file descriptor.
func FromFD(fd, mtu int) (*Device, error) {
	if err := validAdopted(mtu); err != nil {
		return nil, err
	}
	if fd < 0 {
		return nil, fmt.Errorf("tun: file descriptor %d: %w", fd, syscall.EBADF)
	}
	return fromFD(fd, mtu)
}

func validAdopted(mtu int) error {
	if mtu != 0 && (mtu < MinMTU || mtu > MaxMTU) {
		return fmt.Errorf("tun: MTU %d is not within %d and %d", mtu, MinMTU, MaxMTU)
	}
	return nil
}

func newDevice(dev *device, name string) *Device {
	d := &Device{dev: dev, name: name}
	d.close = sync.OnceValue(func() error {
		d.closed.Store(true)
		return ioError("close", dev.close())
	})
	return d
}

// Name is the interface's name when it was opened; "" if the system does not
// tell.
func (d *Device) Name() string { return d.name }

// MTU is the interface's MTU in bytes, on Linux and Windows as it was at the
// time of opening.
func (d *Device) MTU() int { return d.dev.mtu() }

// Read waits for a packet that the host sends through the interface.
func (d *Device) Read(b []byte) (int, error) {
	n, err := d.dev.read(b)
	if err != nil {
		return 0, d.error("read", err)
	}
	return n, nil
}

// Write gives one packet to the host. On Linux and Windows it never waits.
func (d *Device) Write(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case len(p) > d.dev.mtu():
		return 0, l3conn.ErrTooLong
	}
	if err := d.dev.write(p); err != nil {
		return 0, d.error("write", err)
	}
	return len(p), nil
}

// SetReadDeadline sets the deadline of Read, also of one that is blocked. It
// returns os.ErrNoDeadline where the system has none (Windows).
func (d *Device) SetReadDeadline(t time.Time) error {
	return d.error("set", d.dev.setReadDeadline(t))
}

// SetWriteDeadline is there for symmetry: a Write that waits is the exception.
func (d *Device) SetWriteDeadline(t time.Time) error {
	return d.error("set", d.dev.setWriteDeadline(t))
}

// Close ends blocked Reads and gives the interface back: one that Open made
// disappears unless it is to persist. Close may be called again and returns the
// same.
func (d *Device) Close() error { return d.close() }

// SyscallConn implements syscall.Conn, to hand the file descriptor to another
// process or to set options. Reads and writes past the Device are not for it.
func (d *Device) SyscallConn() (syscall.RawConn, error) { return d.dev.syscallConn() }

// Caps implements l3conn.Capper.
func (d *Device) Caps() l3conn.Caps { return d.dev.caps(d) }

// error is ioError with what the Device knows of itself: not every way into a
// closed file says so.
func (d *Device) error(op string, err error) error {
	if err == nil {
		return nil
	}
	if d.closed.Load() {
		err = os.ErrClosed
	}
	err = ioError(op, err)
	var known *net.OpError
	if errors.As(err, &known) && !known.Timeout() && !errors.Is(err, net.ErrClosed) && d.dev.gone() {
		known.Err = errGone
	}
	return err
}

// ioError gives an error of the system its place or, where the contract has
// words for it, those.
func ioError(op string, err error) error {
	writing := op == "write"
	switch {
	case err == nil, err == l3conn.ErrShortBuffer, err == l3conn.ErrTooLong:
		return err
	case errors.Is(err, os.ErrClosed):
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	case writing && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)):
		return l3conn.ErrNoBuffers
	case writing && errors.Is(err, syscall.EIO):
		return l3conn.ErrDown // so says Linux of an interface that is not up
	case errors.Is(err, errnoGone):
		err = errGone
	default:
		if path := (*os.PathError)(nil); errors.As(err, &path) {
			err = os.NewSyscallError(path.Op, path.Err)
		}
	}
	return &net.OpError{Op: op, Net: "tun", Err: err}
}

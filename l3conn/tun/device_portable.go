//go:build darwin || windows || freebsd || openbsd

package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	wgtun "golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
)

// errnoGone is what an open TUN says once its interface was deleted.
const errnoGone = syscall.ENXIO

// headroom is what WireGuard's package wants in front of a packet on the BSDs,
// for the address family.
const headroom = 4

// device is WireGuard's. It takes one packet per call on all these systems, so
// there are no batches to offer, and it wants headroom in our memory, so that
// each packet is copied once.
type device struct {
	wg   wgtun.Device
	file *os.File     // nil on Windows
	size atomic.Int64 // MTU; asking costs system calls, so it is kept

	rmu   sync.Mutex
	rbuf  [1][]byte
	rsize [1]int

	wmu  sync.Mutex
	wbuf [headroom + MaxMTU]byte
	wone [1][]byte

	drained chan struct{} // closed when the goroutine that drains events has ended
}

func open(c Config) (*Device, error) {
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"Addrs", len(c.Addrs) > 0}, {"Routes", len(c.Routes) > 0},
		{"Persist", c.Persist}, {"NetNS", c.NetNS != ""}, {"MultiQueue", c.MultiQueue},
	} {
		if f.set {
			return nil, fmt.Errorf("tun: Config.%s on %s: %w", f.field, runtime.GOOS, errors.ErrUnsupported)
		}
	}
	if c.Name == "" {
		c.Name = defaultName
	}
	if c.MTU == 0 {
		c.MTU = l3conn.DefaultMTU
	}
	wg, err := wgtun.CreateTUN(c.Name, c.MTU)
	if err != nil {
		return nil, fmt.Errorf("tun: interface %s: %w", c.Name, err)
	}
	return wrap(wg, c.MTU)
}

func wrap(wg wgtun.Device, mtu int) (*Device, error) {
	name, err := wg.Name()
	if err != nil {
		return nil, fmt.Errorf("tun: %w", errors.Join(err, wg.Close()))
	}
	d := &device{wg: wg, file: wg.File(), drained: make(chan struct{})}
	d.size.Store(int64(mtu))
	d.askMTU()
	d.rbuf[0] = make([]byte, headroom+MaxMTU)
	go func() { // owned by the Device: ends when wg.Close closes the channel, awaited by close
		defer close(d.drained)
		for e := range wg.Events() { // left full, the channel would block WireGuard's listener
			if e&wgtun.EventMTUUpdate != 0 {
				d.askMTU()
			}
		}
	}()
	return newDevice(d, name), nil
}

func (d *device) mtu() int { return int(d.size.Load()) }

func (d *device) askMTU() {
	if m, err := d.wg.MTU(); err == nil && m > 0 {
		d.size.Store(int64(m))
	}
}

func (d *device) read(b []byte) (int, error) {
	d.rmu.Lock()
	defer d.rmu.Unlock()
	n, err := d.wg.Read(d.rbuf[:], d.rsize[:], headroom)
	switch {
	case n == 0:
		return 0, err
	case d.rsize[0] > len(b):
		return 0, l3conn.ErrShortBuffer
	}
	return copy(b, d.rbuf[0][headroom:headroom+d.rsize[0]]), nil
}

func (d *device) write(p []byte) error {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.wone[0] = d.wbuf[:headroom+copy(d.wbuf[headroom:], p)]
	_, err := d.wg.Write(d.wone[:], headroom)
	return err
}

func (d *device) close() error {
	err := d.wg.Close()
	<-d.drained
	return err
}

// gone: the error itself says so here, as far as it can be told.
func (d *device) gone() bool { return false }

func (d *device) setReadDeadline(t time.Time) error {
	if d.file == nil {
		return os.ErrNoDeadline
	}
	return d.file.SetReadDeadline(t)
}

func (d *device) setWriteDeadline(t time.Time) error {
	if d.file == nil {
		return os.ErrNoDeadline
	}
	return d.file.SetWriteDeadline(t)
}

func (d *device) syscallConn() (syscall.RawConn, error) {
	if d.file == nil {
		return nil, fmt.Errorf("tun: no file on %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	return d.file.SyscallConn()
}

func (d *device) caps(of *Device) l3conn.Caps {
	c := l3conn.Caps{MTUer: of, Closer: of, Direct: d.file == nil} // wintun drops when its ring is full
	if d.file != nil && d.file.SetReadDeadline(time.Time{}) == nil {
		c.ReadDeadliner, c.WriteDeadliner = of, of
	}
	return c
}

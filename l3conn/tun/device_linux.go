package tun

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// errnoGone is what an open TUN says once its interface was deleted.
const errnoGone = unix.EBADFD

// batchSize bounds the packets per ReadBatch. A TUN takes one system call per
// packet in any case; what a batch saves is the way through the poller, so a
// moderate number has all the gain.
const batchSize = 64

// device is a Linux TUN.
type device struct {
	file *os.File
	raw  syscall.RawConn
	size int       // MTU
	ops  sync.Pool // of *ops

	// unsure: nobody could tell whether packets have a header in front, so the
	// first one read must. Only the reader touches it.
	unsure bool
}

// errHeader is what a TUN without IFF_NO_PI gives.
var errHeader = errors.New("its packets have a header of their own: open it with IFF_NO_PI")

// newPolled gives fd to Go's poller. fd must have its interface already: the
// poller never hears of one that is attached later. On error fd is still the
// caller's.
func newPolled(fd int, name string, mtu int) (*Device, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "tun "+name)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &device{file: f, raw: raw, size: mtu}
	d.ops.New = func() any { return newOps() }
	return newDevice(d, name), nil
}

func (d *device) mtu() int     { return d.size }
func (d *device) close() error { return d.file.Close() }

func (d *device) setReadDeadline(t time.Time) error     { return d.file.SetReadDeadline(t) }
func (d *device) setWriteDeadline(t time.Time) error    { return d.file.SetWriteDeadline(t) }
func (d *device) syscallConn() (syscall.RawConn, error) { return d.file.SyscallConn() }

// gone asks whether the interface was deleted. The poller finds that out too,
// and has an error of its own for it, which nobody outside can name.
func (d *device) gone() bool {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return false
	}
	var answer error
	err = d.raw.Control(func(fd uintptr) { answer = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr) })
	return err == nil && answer == errnoGone
}

func (d *device) caps(of *Device) l3conn.Caps {
	return l3conn.Caps{
		BatchReader: batches{of}, BatchWriter: batches{of}, Direct: true,
		MTUer: of, ReadDeadliner: of, WriteDeadliner: of, Closer: of,
	}
}

func (d *device) read(b []byte) (int, error) {
	n, err := d.file.Read(b)
	switch {
	case err != nil:
		return 0, err
	case d.unsure && d.foreign(b[:n]):
		return 0, errHeader
	case cut(b[:n], len(b)):
		return 0, l3conn.ErrShortBuffer
	}
	return n, nil
}

// foreign reports whether the first packet is no IP packet; a later one that
// looks like it is only a bad packet.
func (d *device) foreign(p []byte) bool {
	d.unsure = false
	return len(p) >= 4 && p[0]>>4 == 0 && (p[2] == 0x08 && p[3] == 0x00 || p[2] == 0x86 && p[3] == 0xdd)
}

// cut reports whether p, read into room bytes, is only the beginning of a
// packet: the kernel cuts without a word, so the IP header must tell.
func cut(p []byte, room int) bool {
	switch {
	case len(p) < room:
		return false
	case len(p) < 6:
		return true
	case p[0]>>4 == 6:
		return 40+int(p[4])<<8+int(p[5]) > len(p)
	}
	return int(p[2])<<8+int(p[3]) > len(p)
}

func (d *device) write(p []byte) error {
	o := d.ops.Get().(*ops)
	o.one[0] = p
	_, err := d.writeAll(o, o.one[:])
	return err
}

// writeAll writes pkts by o and puts o back.
func (d *device) writeAll(o *ops, pkts [][]byte) (int, error) {
	o.bufs = pkts
	err := d.raw.Write(o.write)
	return d.done(o, err)
}

// readAll fills bufs with what is there, after waiting for the first packet.
func (d *device) readAll(bufs [][]byte, sizes []int) (int, error) {
	o := d.ops.Get().(*ops)
	o.bufs, o.sizes = bufs, sizes
	err := d.raw.Read(o.read)
	if d.unsure && err == nil && o.n > 0 && d.foreign(bufs[0][:sizes[0]]) {
		o.n, err = 0, errHeader
	}
	return d.done(o, err)
}

// done takes the result out of o and lets go of the caller's memory.
func (d *device) done(o *ops, err error) (int, error) {
	if o.err != nil {
		err = o.err
	}
	n := o.n
	o.bufs, o.sizes, o.n, o.err, o.one[0] = nil, nil, 0, nil, nil
	d.ops.Put(o)
	return n, err
}

// batches is the batch form of a Device.
type batches struct{ d *Device }

func (b batches) BatchSize() int { return batchSize }

func (b batches) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	n, err := b.d.dev.readAll(bufs[:min(len(bufs), batchSize)], sizes)
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, b.d.error("read", err)
}

func (b batches) WriteBatch(pkts [][]byte) (n int, err error) {
	fit := 0
	for fit < len(pkts) && len(pkts[fit]) <= b.d.dev.size {
		fit++
	}
	if fit > 0 {
		n, err = b.d.dev.writeAll(b.d.dev.ops.Get().(*ops), pkts[:fit])
	}
	if err == nil && fit < len(pkts) {
		err = l3conn.ErrTooLong
	}
	return n, b.d.error("write", err)
}

// ops is what one call does inside the poller's callback. It is pooled together
// with its two callbacks, so that a packet costs no allocation.
type ops struct {
	bufs        [][]byte
	sizes       []int
	n           int
	err         error
	one         [1][]byte
	read, write func(fd uintptr) bool
}

func newOps() *ops {
	o := &ops{}
	o.read, o.write = o.readAll, o.writeAll
	return o
}

// readAll reads what is there; false means to wait.
func (o *ops) readAll(fd uintptr) bool {
	for o.n < len(o.bufs) {
		b := o.bufs[o.n]
		n, err := unix.Read(int(fd), b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return o.n > 0
		case err != nil:
			o.err = os.NewSyscallError("read", err)
			return true
		case cut(b[:n], len(b)):
			n = 0
		}
		o.sizes[o.n] = n
		o.n++
	}
	return true
}

// writeAll writes until an error; it never waits.
func (o *ops) writeAll(fd uintptr) bool {
	for o.n < len(o.bufs) {
		if len(o.bufs[o.n]) > 0 {
			switch _, err := unix.Write(int(fd), o.bufs[o.n]); {
			case err == unix.EINTR:
				continue
			case err != nil:
				o.err = os.NewSyscallError("write", err)
				return true
			}
		}
		o.n++
	}
	return true
}

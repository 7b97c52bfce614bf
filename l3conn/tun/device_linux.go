package tun

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
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
	size int // MTU
	offload
	ops sync.Pool // of *ops

	enabled atomic.Uint32 // l3conn.Features of reads

	// The poller's writers exclude each other, and its deadline is theirs;
	// the kernel's do not, so writes go past the poller.
	began         time.Time
	writeDeadline atomic.Int64 // nanoseconds since began; 0: none

	// given: the descriptor came from outside, and whoever has a copy of it can make
	// it wait.
	given bool

	// unsure: nobody could tell whether packets have another header in front,
	// so the first one read must. Only the reader touches it.
	unsure bool
}

// errHeader is what a TUN without IFF_NO_PI gives.
var errHeader = errors.New("its packets have a header of their own: open it with IFF_NO_PI")

// newPolled gives fd to Go's poller. fd must have its interface already: the
// poller never hears of one that is attached later. On error fd is still the
// caller's.
func newPolled(fd int, name string, mtu int, off offload) (*Device, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "tun "+name)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &device{file: f, raw: raw, size: mtu, offload: off, began: time.Now()}
	d.ops.New = func() any { return newOps(d) }
	return newDevice(d, name), nil
}

func (d *device) mtu() int { return d.size }

func (d *device) close() error {
	if d.enabled.Load() != 0 && !d.shared && d.flags()&unix.IFF_PERSIST != 0 {
		_ = d.enable(0) // the interface's next user may not know of it
	}
	return d.file.Close()
}

func (d *device) setReadDeadline(t time.Time) error     { return d.file.SetReadDeadline(t) }
func (d *device) syscallConn() (syscall.RawConn, error) { return d.file.SyscallConn() }

func (d *device) setWriteDeadline(t time.Time) error {
	if err := d.file.SetWriteDeadline(t); err != nil {
		return err
	}
	at := int64(0)
	if !t.IsZero() {
		at = max(1, int64(t.Sub(d.began)))
	}
	d.writeDeadline.Store(at)
	return nil
}

// gone asks whether the interface was deleted. The poller finds that out too,
// and has an error of its own for it, which nobody outside can name.
func (d *device) gone() bool {
	_, err := d.ask()
	return err == errnoGone
}

// flags returns the interface's, 0 if they are not to be had.
func (d *device) flags() uint16 {
	flags, _ := d.ask()
	return flags
}

func (d *device) ask() (uint16, error) {
	var answer error
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return 0, err
	}
	err = d.raw.Control(func(fd uintptr) { answer = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr) })
	if err == nil {
		err = answer
	}
	if err != nil {
		return 0, err
	}
	return ifr.Uint16(), nil
}

func (d *device) caps(of *Device) l3conn.Caps {
	c := l3conn.Caps{
		BatchReader: batches{of}, BatchWriter: batches{of}, Direct: true,
		MTUer: of, ReadDeadliner: of, WriteDeadliner: of, Closer: of,
	}
	if d.features != 0 {
		c.Offloader = segments{of}
	}
	return c
}

func (d *device) read(b []byte) (int, error) {
	if d.enabled.Load() != 0 {
		return 0, unix.EINVAL // a reader of packets would lose segments
	}
	o := d.ops.Get().(*ops)
	o.one[0], o.oneSize[0] = b, 0
	o.bufs, o.sizes = o.one[:], o.oneSize[:]
	err := d.raw.Read(o.readPackets)
	size := o.oneSize[0]
	switch n, err := d.done(o, err); {
	case n == 0:
		return 0, err
	case size == 0:
		return 0, l3conn.ErrShortBuffer
	}
	return size, nil
}

// readPackets fills bufs with what is there, after waiting for the first packet.
func (d *device) readPackets(bufs [][]byte, sizes []int) (int, error) {
	if d.enabled.Load() != 0 {
		return 0, unix.EINVAL
	}
	o := d.ops.Get().(*ops)
	o.bufs, o.sizes = bufs, sizes
	return d.done(o, d.raw.Read(o.readPackets))
}

func (d *device) readSegments(segs []l3conn.Segment) (int, error) {
	o := d.ops.Get().(*ops)
	o.segs = segs
	return d.done(o, d.raw.Read(o.readSegments))
}

// write writes one packet.
func (d *device) write(p []byte) error {
	o := d.ops.Get().(*ops)
	o.one[0] = p
	o.bufs = o.one[:]
	_, err := d.send(o, o.writePackets)
	return err
}

func (d *device) writePackets(pkts [][]byte) (int, error) {
	o := d.ops.Get().(*ops)
	o.bufs = pkts
	return d.send(o, o.writePackets)
}

func (d *device) writeSegments(segs []l3conn.Segment) (int, error) {
	o := d.ops.Get().(*ops)
	o.segs = segs
	return d.send(o, o.writeSegments)
}

// send calls write past the poller and puts o back.
func (d *device) send(o *ops, write func(fd uintptr)) (int, error) {
	if at := d.writeDeadline.Load(); at != 0 && int64(time.Since(d.began)) >= at {
		return d.done(o, os.ErrDeadlineExceeded)
	}
	return d.done(o, d.raw.Control(write))
}

// done takes the result out of o and lets go of the caller's memory.
func (d *device) done(o *ops, err error) (int, error) {
	if o.err != nil {
		err = o.err
	}
	n := o.n
	o.bufs, o.sizes, o.segs, o.n, o.err, o.one[0] = nil, nil, nil, 0, nil, nil
	clear(o.iov[:cap(o.iov)])
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
	n, err := b.d.dev.readPackets(bufs[:min(len(bufs), batchSize)], sizes)
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
		n, err = b.d.dev.writePackets(pkts[:fit])
	}
	if err == nil && fit < len(pkts) {
		err = l3conn.ErrTooLong
	}
	return n, b.d.error("write", err)
}

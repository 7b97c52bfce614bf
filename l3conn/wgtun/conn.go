package wgtun

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
)

// headroom is what is left free in front of a packet, as wireguard-go leaves it
// (device.MessageTransportHeaderSize): its devices put headers of their system there,
// and some cannot do without.
const headroom = 16

// Conn is a tun.Device as a packet conn, with its batches. One goroutine reads at a
// time; all else may be called by any number at once.
//
// A packet is copied once on its way: a Device wants room in front of each, and may
// write to what it is given.
type Conn struct {
	dev   tun.Device
	batch int
	size  atomic.Int64 // MTU
	down  atomic.Bool
	file  *os.File // with deadlines; nil: there is none
	stop  func() error

	// The reader's: what the device has given.
	bufs       [][]byte
	sizes      []int
	have, next int

	writes sync.Pool // of *outgoing

	ended   chan struct{} // closed by Close
	drained chan struct{} // closed when the goroutine that drains events has ended
}

// outgoing is room for packets to be written.
type outgoing struct {
	room []byte
	bufs [][]byte
}

// FromTUN returns a packet conn on dev, which it owns from then on: Close closes it.
// A device of a system with a file whose Read obeys deadlines makes a
// l3conn.ReadDeadliner of it. What the device says of its MTU is followed, and
// while it says that it is down Write returns l3conn.ErrDown.
func FromTUN(dev tun.Device) (*Conn, error) {
	mtu, err := dev.MTU()
	if err != nil {
		return nil, &net.OpError{Op: "open", Net: "wgtun", Err: err}
	}
	c := &Conn{
		dev: dev, batch: max(1, dev.BatchSize()),
		ended: make(chan struct{}), drained: make(chan struct{}),
	}
	c.size.Store(int64(mtu))
	if f := dev.File(); f != nil && f.SetReadDeadline(time.Time{}) == nil {
		c.file = f
	}
	c.bufs, c.sizes = make([][]byte, c.batch), make([]int, c.batch)
	const room = headroom + l3conn.MaxSegment // the device may be told another MTU at any time
	memory := make([]byte, c.batch*room)      // of which the system gives what is touched
	for i := range c.bufs {
		c.bufs[i] = memory[i*room : (i+1)*room : (i+1)*room]
	}
	c.writes.New = func() any { return &outgoing{bufs: make([][]byte, 0, c.batch)} }
	c.stop = sync.OnceValue(func() error {
		close(c.ended)
		err := dev.Close()
		<-c.drained
		return opError("close", err)
	})
	go c.follow() // ends when the device closes its channel, at the latest by Close, which awaits it
	return c, nil
}

// follow follows the events of the device. They must be taken in any case: a channel
// that is full stops the device.
func (c *Conn) follow() {
	defer close(c.drained)
	for {
		select {
		case e, ok := <-c.dev.Events():
			if !ok {
				return
			}
			if e&tun.EventMTUUpdate != 0 {
				if n, err := c.dev.MTU(); err == nil && n > 0 {
					c.size.Store(int64(n))
				}
			}
			if e&(tun.EventUp|tun.EventDown) != 0 {
				c.down.Store(e&tun.EventDown != 0)
			}
		case <-c.ended:
			return
		}
	}
}

// MTU implements l3conn.MTUer: it is what the device said last.
func (c *Conn) MTU() int { return int(c.size.Load()) }

// Caps implements l3conn.Capper.
func (c *Conn) Caps() l3conn.Caps {
	caps := l3conn.Caps{BatchReader: c, BatchWriter: c, MTUer: c, Closer: c}
	if c.file != nil {
		caps.ReadDeadliner = c
	}
	return caps
}

// SetReadDeadline implements l3conn.ReadDeadliner where the device's file has
// deadlines, else it returns os.ErrNoDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.file == nil {
		return os.ErrNoDeadline
	}
	return c.error("set", c.file.SetReadDeadline(t))
}

// Read waits for a packet.
func (c *Conn) Read(b []byte) (int, error) {
	var size [1]int
	n, err := c.ReadBatch([][]byte{b}, size[:])
	if n == 1 && size[0] == 0 {
		return 0, l3conn.ErrShortBuffer
	}
	return size[0], err
}

// BatchSize implements l3conn.BatchReader: it is the device's.
func (c *Conn) BatchSize() int { return c.batch }

// ReadBatch implements l3conn.BatchReader.
func (c *Conn) ReadBatch(bufs [][]byte, sizes []int) (n int, err error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	if c.next == c.have {
		c.have, err = c.dev.Read(c.bufs, c.sizes, headroom)
		c.next = 0
		if errors.Is(err, tun.ErrTooManySegments) {
			err = nil // some were lost, of packets that were too small to be many
		}
	}
	for n < min(len(bufs), c.batch) && c.next < c.have {
		size := c.sizes[c.next]
		if size > 0 {
			sizes[n] = fill(bufs[n], c.bufs[c.next][headroom:headroom+size])
			n++
		}
		c.next++
	}
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, c.error("read", err)
}

// Write gives one packet to the device.
func (c *Conn) Write(p []byte) (int, error) {
	if _, err := c.WriteBatch([][]byte{p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteBatch implements l3conn.BatchWriter.
func (c *Conn) WriteBatch(pkts [][]byte) (int, error) {
	done := 0
	for done < len(pkts) {
		fit, bytes := 0, 0
		for _, p := range pkts[done:min(len(pkts), done+c.batch)] {
			if len(p) > c.MTU() {
				break
			}
			fit++
			bytes += headroom + len(p)
		}
		if fit == 0 {
			return done, l3conn.ErrTooLong
		}
		if err := c.write(pkts[done:done+fit], bytes); err != nil {
			return done, err
		}
		done += fit
	}
	return done, nil
}

// write writes pkts, which take bytes with their headrooms, by one call.
func (c *Conn) write(pkts [][]byte, bytes int) error {
	if c.down.Load() {
		return l3conn.ErrDown
	}
	o := c.writes.Get().(*outgoing)
	defer c.writes.Put(o)
	if len(o.room) < bytes {
		o.room = make([]byte, bytes)
	}
	room := o.room
	o.bufs = o.bufs[:0]
	for _, p := range pkts {
		if len(p) == 0 {
			continue
		}
		n := headroom + copy(room[headroom:], p)
		o.bufs = append(o.bufs, room[:n:n])
		room = room[n:]
	}
	if len(o.bufs) == 0 {
		return nil
	}
	_, err := c.dev.Write(o.bufs, headroom)
	return c.error("write", err)
}

// Close closes the device, and with it ends what is blocked. It may be called again
// and returns the same.
func (c *Conn) Close() error { return c.stop() }

// error gives an error of the device the words of the contract.
func (c *Conn) error(op string, err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-c.ended:
		return opError(op, net.ErrClosed)
	default:
	}
	writing := op == "write"
	switch {
	case errors.Is(err, os.ErrClosed) && writing:
		err = syscall.EPIPE // not by us
	case errors.Is(err, os.ErrClosed):
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	case writing && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)):
		return l3conn.ErrNoBuffers
	case writing && errors.Is(err, syscall.EIO):
		return l3conn.ErrDown // so says Linux of an interface that is not up
	}
	return opError(op, err)
}

package wgtun

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/l3conn"
)

const (
	// segmentBatch is how many segments are read at once, each into 64 KiB.
	segmentBatch = 4
	// maxIdleReads is how many Reads in a row may bring nothing, as the contract of
	// l3conn says.
	maxIdleReads = 100
)

// carried is the carrier of ToTUN.
type carried struct {
	caps   l3conn.Caps
	reader l3conn.BatchReader
	writer l3conn.BatchWriter
	views  [][]byte // the reader's: its buffers without their beginnings
	idle   int

	offloader  l3conn.Offloader // nil: packets are read
	segs       []l3conn.Segment
	have, next int // segments read, and the first that is not cut whole
	cutting    bool
	cut        l3conn.Cutter

	scratch sync.Pool // of *[][]byte: packets being written
	closed  atomic.Bool

	tooLong, noRoom atomic.Uint64
}

func carry(conn l3conn.Conn, cfg Config) (*carried, error) {
	if conn == nil {
		return nil, errors.New("wgtun: no conn")
	}
	c := &carried{caps: l3conn.Probe(conn), views: make([][]byte, cfg.Batch)}
	c.reader, c.writer = c.caps.Reader(), c.caps.Writer()
	c.scratch.New = func() any { return new([][]byte) }
	o := c.caps.Offloader
	if o == nil {
		return c, nil
	}
	read, _ := o.Offload()
	if read == 0 {
		return c, nil
	}
	if err := o.EnableOffload(read); err != nil {
		return nil, fmt.Errorf("wgtun: offload: %w", err)
	}
	c.offloader = o
	c.segs = make([]l3conn.Segment, max(1, min(segmentBatch, o.SegmentBatch())))
	for i := range c.segs {
		c.segs[i].Parts = [][]byte{make([]byte, l3conn.MaxSegment)}
	}
	return c, nil
}

func (c *carried) mtu() int { return c.caps.MTU() }

// read reads until there is a packet, or the conn has ended.
func (c *carried) read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	for len(bufs) > 0 {
		if c.offloader != nil {
			n, err = c.readSegments(bufs, sizes, offset)
		} else {
			n, err = c.readPackets(bufs, sizes, offset)
		}
		switch {
		case c.closed.Load():
			return 0, os.ErrClosed
		case errors.Is(err, io.ErrShortBuffer):
			c.tooLong.Add(1)
			err, c.idle = nil, 0
		case err == nil || l3conn.Transient(err):
			if c.idle++; n == 0 && c.idle >= maxIdleReads {
				return 0, errors.Join(io.ErrNoProgress, err)
			}
			err = nil
		case errors.Is(err, net.ErrClosed), err == io.EOF:
			err = os.ErrClosed
		}
		if n > 0 {
			c.idle = 0
			return n, nil // an error comes again
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// readPackets reads right into bufs.
func (c *carried) readPackets(bufs [][]byte, sizes []int, offset int) (int, error) {
	views := c.views[:min(len(bufs), len(c.views))]
	for i := range views {
		views[i] = bufs[i][offset:]
	}
	n, err := c.reader.ReadBatch(views, sizes)
	clear(views)
	for _, size := range sizes[:n] {
		if size == 0 {
			c.tooLong.Add(1)
		}
	}
	return n, err
}

// readSegments cuts segments into bufs, and reads new ones when none is left.
func (c *carried) readSegments(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	if c.next == c.have {
		c.next = 0
		if c.have, err = c.offloader.ReadSegments(c.segs); c.have == 0 {
			return 0, err
		}
	}
	for c.next < c.have && n < len(bufs) {
		s := &c.segs[c.next]
		if !c.cutting {
			c.cutting = s.Size > 0 && c.cut.Reset(s, s.Size) == nil
		}
		size, err := 0, error(l3conn.ErrShortBuffer) // of a segment that was lost already
		if c.cutting {
			size, err = c.cut.Next(bufs[n][offset:])
		}
		switch err {
		case nil:
			sizes[n] = size
			n++
			continue
		case io.EOF:
		default:
			c.tooLong.Add(1)
		}
		c.cutting = false
		c.next++
	}
	return n, nil
}

// write writes all packets that the conn takes.
func (c *carried) write(bufs [][]byte, offset int) error {
	held := c.scratch.Get().(*[][]byte)
	pkts := (*held)[:0]
	for _, b := range bufs {
		if len(b) > offset {
			pkts = append(pkts, b[offset:])
		}
	}
	defer func() {
		clear(*held)
		c.scratch.Put(held)
	}()
	*held = pkts
	for len(pkts) > 0 {
		n, err := c.writer.WriteBatch(pkts)
		pkts = pkts[n:]
		switch {
		case err == nil && n > 0:
			continue
		case c.closed.Load(), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EPIPE):
			return os.ErrClosed
		case err == nil:
			return io.ErrNoProgress
		case !l3conn.Transient(err):
			return err
		case errors.Is(err, syscall.EMSGSIZE):
			c.tooLong.Add(1)
		default:
			c.noRoom.Add(1)
		}
		pkts = pkts[min(1, len(pkts)):]
	}
	return nil
}

func (c *carried) close() error {
	c.closed.Store(true)
	if c.caps.Closer != nil {
		return c.caps.Closer.Close()
	}
	past := time.Unix(1, 0)
	if d := c.caps.ReadDeadliner; d != nil {
		_ = d.SetReadDeadline(past) // what cannot be ended keeps its reader, as documented
	}
	if d := c.caps.WriteDeadliner; d != nil {
		_ = d.SetWriteDeadline(past)
	}
	return nil
}

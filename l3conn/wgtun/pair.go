package wgtun

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"l3extract/l3conn"
)

// Defaults of Config; both are wireguard-go's own (device.DefaultMTU,
// conn.IdealBatchSize).
const (
	// DefaultMTU is what WireGuard leaves of 1500 bytes, with room for IPv6 outside.
	DefaultMTU = 1420
	// DefaultBatch is the number of packets per call.
	DefaultBatch = 128
)

// errGone is a write to an end whose other one was closed.
var errGone error = syscall.EPIPE

// Config is read once by Pair and ToTUN; nil and the zero value are the defaults.
type Config struct {
	// Name is the device's. Default: "l3extract".
	Name string
	// MTU is the largest packet of a Pair, in bytes; with ToTUN the conn's own MTU
	// comes first. Default: DefaultMTU.
	MTU int
	// Batch is the largest number of packets per Read, and the device's BatchSize.
	// Default: DefaultBatch. Less saves memory: wireguard-go has a buffer
	// of 64 KiB for each.
	Batch int
}

func (c *Config) withDefaults() Config {
	var cfg Config
	if c != nil {
		cfg = *c
	}
	if cfg.Name == "" {
		cfg.Name = "l3extract"
	}
	if cfg.MTU <= 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.Batch <= 0 {
		cfg.Batch = DefaultBatch
	}
	return cfg
}

// End is the Stack's end of a Pair: a packet conn with batches that takes segments
// of up to 64 KiB. One goroutine reads at a time; all else may be called by any number
// at once. A Write waits until the device was read, but for a few packets.
type End struct {
	in, out *handoff
	mtu     int
	batch   int
}

// Pair returns a packet conn and the tun.Device that is its other end, joined
// without memory in between.
func Pair(c *Config) (*End, *Device) {
	cfg := c.withDefaults()
	in, out := newHandoff(), newHandoff()
	end := &End{in: in, out: out, mtu: cfg.MTU, batch: cfg.Batch}
	return end, newDevice(cfg, &paired{in: out, out: in, size: cfg.MTU})
}

// Read waits for a packet from the device.
func (e *End) Read(b []byte) (int, error) {
	var size [1]int
	n, err := e.in.read([][]byte{b}, size[:], 0)
	switch {
	case err != nil:
		return 0, opError("read", err)
	case n == 1 && size[0] == 0:
		return 0, l3conn.ErrShortBuffer
	}
	return size[0], nil
}

// Write gives one packet to the device.
func (e *End) Write(b []byte) (int, error) {
	if len(b) > e.mtu {
		return 0, l3conn.ErrTooLong
	}
	if _, err := e.out.write(loan{pkts: [][]byte{b}}); err != nil {
		return 0, opError("write", err)
	}
	return len(b), nil
}

// BatchSize implements l3conn.BatchReader.
func (e *End) BatchSize() int { return e.batch }

// ReadBatch implements l3conn.BatchReader.
func (e *End) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	n, err := e.in.read(bufs[:min(len(bufs), e.batch)], sizes, 0)
	return n, opError("read", err)
}

// WriteBatch implements l3conn.BatchWriter.
func (e *End) WriteBatch(pkts [][]byte) (int, error) {
	fit := 0
	for fit < len(pkts) && len(pkts[fit]) <= e.mtu {
		fit++
	}
	n, err := e.out.write(loan{pkts: pkts[:fit]})
	if err == nil && fit < len(pkts) {
		return n, l3conn.ErrTooLong
	}
	return n, opError("write", err)
}

// Offload implements l3conn.Offloader: segments are taken, and packets given.
func (e *End) Offload() (read, write l3conn.Features) { return 0, l3conn.OffloadAll }

// EnableOffload implements l3conn.Offloader: there is nothing to enable.
func (e *End) EnableOffload(read l3conn.Features) error {
	if read != 0 {
		return opError("set", syscall.EINVAL)
	}
	return nil
}

// SegmentBatch implements l3conn.Offloader.
func (e *End) SegmentBatch() int { return e.batch }

// ReadSegments implements l3conn.Offloader.
func (e *End) ReadSegments(segs []l3conn.Segment) (n int, err error) {
	if len(segs) == 0 {
		return 0, nil
	}
	// Whoever has enabled no offload reads batches, so one at a time is enough here.
	s := &segs[0]
	room := 0
	for _, p := range s.Parts {
		room += len(p)
	}
	b := make([]byte, room)
	size, err := e.Read(b)
	if err != nil && err != l3conn.ErrShortBuffer {
		return 0, err
	}
	*s = l3conn.Segment{Parts: s.Parts, Size: size}
	for _, p := range s.Parts {
		b = b[copy(p, b):]
	}
	return 1, nil
}

// WriteSegments implements l3conn.Offloader.
func (e *End) WriteSegments(segs []l3conn.Segment) (int, error) {
	fit := 0
	var bad error
	for fit < len(segs) && bad == nil {
		if bad = segs[fit].Check(l3conn.OffloadAll, e.mtu); bad == nil {
			fit++
		}
	}
	n, err := e.out.write(loan{segs: segs[:fit]})
	switch {
	case err != nil:
		return n, opError("write", err)
	case bad != nil && bad != l3conn.ErrTooLong:
		bad = opError("write", bad)
	}
	return n, bad
}

// MTU implements l3conn.MTUer; it never changes.
func (e *End) MTU() int { return e.mtu }

// SetReadDeadline implements l3conn.ReadDeadliner; it never fails.
func (e *End) SetReadDeadline(t time.Time) error {
	e.in.setDeadline(&e.in.readDeadline, readLate, t)
	return nil
}

// SetWriteDeadline implements l3conn.WriteDeadliner; it never fails.
func (e *End) SetWriteDeadline(t time.Time) error {
	e.out.setDeadline(&e.out.writeDeadline, writeLate, t)
	return nil
}

// Close ends this end's Reads and Writes with net.ErrClosed, also those that are
// blocked, and those of the device, with which its device.Device ends too. It may be
// called again and always returns nil.
func (e *End) Close() error {
	e.in.end(readClosed, &e.in.readDeadline)
	e.out.end(writeClosed, &e.out.writeDeadline)
	return nil
}

// paired is the device's side of a Pair.
type paired struct {
	in, out *handoff
	size    int
}

func (p *paired) mtu() int { return p.size }

func (p *paired) read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return p.in.read(bufs, sizes, offset)
}

func (p *paired) write(bufs [][]byte, offset int) error {
	_, err := p.out.write(loan{pkts: bufs, skip: offset})
	return err
}

func (p *paired) close() error {
	p.in.end(readClosed, &p.in.readDeadline)
	p.out.end(writeClosed, &p.out.writeDeadline)
	return nil
}

// opError gives an error its place; nil, io.EOF and those of l3conn stay as they are.
func opError(op string, err error) error {
	switch {
	case err == nil, err == io.EOF, err == l3conn.ErrShortBuffer, err == l3conn.ErrTooLong:
		return err
	case errors.Is(err, os.ErrClosed):
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "wgtun", Err: err}
}

package wgtun

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
)

var errClosed = os.ErrClosed

// changing is a conn whose MTU changes.
type changing struct {
	*l3conn.PipeEnd
	mtu atomic.Int64
}

func (c *changing) MTU() int { return int(c.mtu.Load()) }

// scripted is a device whose events and outcomes a test chooses.
type scripted struct {
	tun.Device
	events chan tun.Event
	mtu    atomic.Int64
	read   func(bufs [][]byte, sizes []int, offset int) (int, error)
	write  error
}

func (s *scripted) File() *os.File           { return nil }
func (s *scripted) MTU() (int, error)        { return int(s.mtu.Load()), nil }
func (s *scripted) BatchSize() int           { return 4 }
func (s *scripted) Events() <-chan tun.Event { return s.events }
func (s *scripted) Close() error             { return nil } // and leaves its channel open
func (s *scripted) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return s.read(bufs, sizes, offset)
}
func (s *scripted) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), s.write }

// TestEvents: the MTU and the state that a device tells of are the conn's.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := &scripted{events: make(chan tun.Event)}
		dev.mtu.Store(1420)
		c := fromTUN(t, dev)
		dev.mtu.Store(1300)
		dev.events <- tun.EventMTUUpdate
		dev.events <- tun.EventDown
		synctest.Wait()
		if c.MTU() != 1300 {
			t.Errorf("MTU %d", c.MTU())
		}
		if _, err := c.Write(make([]byte, 1300)); err != l3conn.ErrDown {
			t.Errorf("Write while it is down: %v", err)
		}
		dev.events <- tun.EventUp
		synctest.Wait()
		if n, err := c.Write(make([]byte, 1300)); n != 1300 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		if _, err := c.Write(make([]byte, 1301)); err != l3conn.ErrTooLong {
			t.Errorf("Write of too much: %v", err)
		}
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestDeviceErrors: what a device says is said in the words of the contract.
func TestDeviceErrors(t *testing.T) {
	dev := &scripted{events: make(chan tun.Event)}
	dev.mtu.Store(1420)
	c := fromTUN(t, dev)
	defer c.Close()
	for _, tc := range []struct {
		err, want error
		transient bool
	}{
		{&os.PathError{Op: "write", Err: syscall.EIO}, syscall.ENETDOWN, true},
		{syscall.ENOBUFS, syscall.ENOBUFS, true},
		{syscall.EAGAIN, syscall.ENOBUFS, true},
		{os.ErrClosed, syscall.EPIPE, false},
		{syscall.EINVAL, syscall.EINVAL, false},
	} {
		dev.write = tc.err
		if _, err := c.Write(make([]byte, 40)); !errors.Is(err, tc.want) || l3conn.Transient(err) != tc.transient {
			t.Errorf("Write: %v for %v", err, tc.err)
		}
	}
	// Two packets, one of them empty, and the device's own loss of others.
	dev.read = func(bufs [][]byte, sizes []int, offset int) (int, error) {
		sizes[0], sizes[1] = 0, copy(bufs[1][offset:], "packet")
		return 2, tun.ErrTooManySegments
	}
	b := make([]byte, 10)
	if n, err := c.Read(b); string(b[:n]) != "packet" || err != nil {
		t.Errorf("Read: %q, %v", b[:n], err)
	}
	dev.read = func([][]byte, []int, int) (int, error) { return 0, tun.ErrTooManySegments }
	if n, err := c.Read(b); n != 0 || err != nil {
		t.Errorf("Read: %d, %v", n, err)
	}
}

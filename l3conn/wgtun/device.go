package wgtun

import (
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
)

// carrier is what a Device reads and writes. Its errors match os.ErrClosed when it is
// closed or its other end is gone.
type carrier interface {
	mtu() int // 0: unknown
	read(bufs [][]byte, sizes []int, offset int) (int, error)
	write(bufs [][]byte, offset int) error
	close() error
}

// Device is a tun.Device that is no interface of the system. One goroutine reads at
// a time, as device.Device does; all else may be called by any number at once.
type Device struct {
	carrier carrier
	cfg     Config
	size    atomic.Int64 // the MTU that was told last
	stop    func() error

	mu     sync.Mutex // guards events against a send after their end
	closed bool
	events chan tun.Event // what does not fit is told later: only the MTU's changes may wait
}

var _ tun.Device = (*Device)(nil)

func newDevice(cfg Config, c carrier) *Device {
	d := &Device{carrier: c, cfg: cfg, events: make(chan tun.Event, 4)}
	d.size.Store(int64(d.askMTU()))
	d.events <- tun.EventUp // as wireguard-go's own devices say it
	d.stop = sync.OnceValue(func() error {
		d.mu.Lock()
		d.closed = true
		close(d.events)
		d.mu.Unlock()
		return d.carrier.close()
	})
	return d
}

// File returns nil: there is no file.
func (d *Device) File() *os.File { return nil }

// Name returns Config.Name.
func (d *Device) Name() (string, error) { return d.cfg.Name, nil }

// MTU returns the size of the largest packet, in bytes.
func (d *Device) MTU() (int, error) { return d.askMTU(), nil }

// BatchSize returns Config.Batch.
func (d *Device) BatchSize() int { return d.cfg.Batch }

// Events tells changes of the MTU, which are looked for with every Read; the first
// event is tun.EventUp. Close closes the channel.
func (d *Device) Events() <-chan tun.Event { return d.events }

func (d *Device) askMTU() int {
	if n := d.carrier.mtu(); n > 0 {
		return n
	}
	return d.cfg.MTU
}

// tellMTU tells a change of the MTU, if there was one and there is room.
func (d *Device) tellMTU() {
	n := int64(d.askMTU())
	if n == d.size.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	select {
	case d.events <- tun.EventMTUUpdate:
		d.size.Store(n)
	default: // the next Read tells it
	}
}

// Read waits for packets and puts them into bufs, behind offset bytes. One that does
// not fit has size 0 and is lost. When the Device or its other end is closed it returns
// os.ErrClosed.
func (d *Device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	d.tellMTU()
	n, err := d.carrier.read(bufs[:min(len(bufs), d.cfg.Batch)], sizes, offset)
	if err == io.EOF || err == errGone {
		err = os.ErrClosed // device.Device ends in silence, as it should
	}
	return n, err
}

// Write writes the packets that lie in bufs behind offset bytes, and waits for room.
// It fails only when the Device or its other end is closed, or the conn of ToTUN
// broken; a packet that the conn did not take is lost, as IP may, and counted.
func (d *Device) Write(bufs [][]byte, offset int) (int, error) {
	if err := d.carrier.write(bufs, offset); err != nil {
		if err == errGone {
			err = os.ErrClosed
		}
		return 0, err
	}
	return len(bufs), nil
}

// Close ends Reads and Writes, also those that are blocked, and closes the conn of
// ToTUN. It may be called again and returns the same.
func (d *Device) Close() error { return d.stop() }

// Stats are the counters of a Device of ToTUN. That of a Pair loses nothing.
type Stats struct {
	// TooLong are the packets that the conn, or a buffer, was too small for.
	TooLong uint64
	// NoRoom are those for which the conn had no room, or that found it down.
	NoRoom uint64
}

// Stats returns the counters as of now.
func (d *Device) Stats() Stats {
	if c, ok := d.carrier.(*carried); ok {
		return Stats{TooLong: c.tooLong.Load(), NoRoom: c.noRoom.Load()}
	}
	return Stats{}
}

// ToTUN returns a tun.Device whose packets conn carries, and which owns conn: Close
// closes it, if it can be closed. Segments of up to 64 KiB are cut right into the
// buffers that Read is given. A conn that cannot be closed keeps its reader until a
// packet comes.
func ToTUN(conn l3conn.Conn, c *Config) (*Device, error) {
	cfg := c.withDefaults()
	carrier, err := carry(conn, cfg)
	if err != nil {
		return nil, err
	}
	return newDevice(cfg, carrier), nil
}

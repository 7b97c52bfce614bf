package framed

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/l3conn"
)

// batchSize is the largest number of packets per ReadBatch: some 90 KiB of 1500
// bytes each.
const batchSize = 64

// Conn carries packets over a stream; see the package comment. One goroutine may
// read and any number may write at once; all other methods may be called from
// anywhere at any time. Errors are *net.OpError, but for io.EOF and those that
// l3conn names.
type Conn struct {
	stream  io.ReadWriteCloser
	cfg     Config
	prefix  int         // bytes of a length
	reads   deadliner   // nil: the stream has none that it survives
	writes  deadliner   // likewise
	closed  atomic.Bool // by Close
	closing func() error
	// closeStream closes the stream once, for Close or a peer that is silent.
	closeStream func() error

	in  reader
	out writer
	pulse
	counters counters
}

// deadliner is half of what net.Conn has.
type deadliner interface{ set(t time.Time) error }

type readDeadliner struct{ l3conn.ReadDeadliner }
type writeDeadliner struct{ l3conn.WriteDeadliner }

func (d readDeadliner) set(t time.Time) error  { return d.SetReadDeadline(t) }
func (d writeDeadliner) set(t time.Time) error { return d.SetWriteDeadline(t) }

// New returns a Conn over stream, which must not be used by anybody else from then
// on. It lifts the deadlines of the stream and, with keepalives, starts a timer: the
// Conn has to be closed. c is copied; a wrong value is an error that names the field.
func New(stream io.ReadWriteCloser, c *Config) (*Conn, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Conn{stream: stream, cfg: cfg, prefix: cfg.Format.size()}
	f.closeStream = sync.OnceValue(stream.Close)
	f.closing = sync.OnceValue(f.close)
	f.findDeadlines()
	f.begin()
	return f, nil
}

// findDeadlines finds out which deadlines the stream has and survives.
func (c *Conn) findDeadlines() {
	if c.cfg.NoDeadlines {
		return
	}
	var none time.Time
	if d, ok := c.stream.(l3conn.ReadDeadliner); ok && d.SetReadDeadline(none) == nil {
		c.reads = readDeadliner{d}
	}
	if _, tls := c.stream.(interface{ HandshakeContext(context.Context) error }); tls {
		return // half a record cannot be taken up again
	}
	if d, ok := c.stream.(l3conn.WriteDeadliner); ok && d.SetWriteDeadline(none) == nil {
		c.writes = writeDeadliner{d}
	}
}

// Caps implements l3conn.Capper.
func (c *Conn) Caps() l3conn.Caps {
	caps := l3conn.Caps{BatchReader: c, BatchWriter: c, Offloader: c, MTUer: c, Closer: c}
	if c.reads != nil {
		caps.ReadDeadliner = c
	}
	if c.writes != nil {
		caps.WriteDeadliner = c
	}
	return caps
}

// MTU implements l3conn.MTUer; it never changes.
func (c *Conn) MTU() int { return c.cfg.MTU }

// SetReadDeadline implements l3conn.ReadDeadliner; os.ErrNoDeadline says that the
// stream has none.
func (c *Conn) SetReadDeadline(t time.Time) error { return setDeadline(c.reads, t) }

// SetWriteDeadline implements l3conn.WriteDeadliner; os.ErrNoDeadline says that the
// stream has none. A frame of which a part was sent counts as written when it
// passes; the rest goes out with the next Write or keepalive.
func (c *Conn) SetWriteDeadline(t time.Time) error { return setDeadline(c.writes, t) }

func setDeadline(d deadliner, t time.Time) error {
	err := error(os.ErrNoDeadline)
	if d != nil {
		err = d.set(t)
	}
	if err != nil {
		return opError("set", err)
	}
	return nil
}

// Close closes the stream and with it ends every call that is blocked. It may be
// called again and returns the same.
func (c *Conn) Close() error { return c.closing() }

func (c *Conn) close() error {
	c.closed.Store(true)
	c.stop()
	err := c.closeStream()
	c.await()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return opError("close", err)
	}
	return nil
}

// failed returns the reason why the stream is closed although its user has not
// closed it, nil if there is none.
func (c *Conn) failed() error {
	if err := c.why.Load(); err != nil {
		return *err
	}
	return nil
}

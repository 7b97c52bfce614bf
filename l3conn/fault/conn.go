package fault

import (
	"net"
	"sync"
	"time"

	"l3extract/l3conn"
)

// batchSize is the number of packets that are moved at once.
const batchSize = 64

// Conn is a conn with faults. What l3conn.Probe finds is what the conn below can
// do, with the same rules for who may call it at once; a direction with faults
// reads in batches in any case and, if packets take time, never waits for room
// in its Write. Stats and Close may be called from anywhere.
type Conn struct {
	below, self l3conn.Caps
	cfg         Config
	in, out     line
	// faultyIn and faultyOut: the direction is not handed through.
	faultyIn, faultyOut         bool
	readDeadline, writeDeadline *deadline
	taken                       [batchSize]*held // the reader's

	closing  sync.Once
	closeErr error

	mu     sync.Mutex // before the lock of a line; guards what follows
	closed bool       // no goroutine is started any more
	// pumping and sending are closed when that goroutine has ended, and nil while
	// there is none.
	pumping, sending chan struct{}
}

// New returns conn with faults. It starts nothing: goroutines begin with the
// first Read, or the first packet that is written and takes time. c is copied; a
// wrong value is an error that names the field.
func New(conn l3conn.Conn, c *Config) (*Conn, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Conn{
		below: l3conn.Probe(conn), cfg: cfg,
		faultyIn: cfg.In.faulty(), faultyOut: cfg.Out.faulty(),
		readDeadline: newDeadline(), writeDeadline: newDeadline(),
	}
	f.in.init(cfg.In, cfg.Seed, streamIn)
	f.out.init(cfg.Out, cfg.Seed, streamOut)
	f.out.lasts = true
	f.self = f.caps()
	return f, nil
}

func (c *Conn) caps() l3conn.Caps {
	s := c.below.Control()
	s.BatchReader, s.BatchWriter = c.below.BatchReader, c.below.BatchWriter
	s.Offloader, s.Direct = c.below.Offloader, c.below.Direct
	if c.faultyIn {
		s.BatchReader, s.ReadDeadliner = batchReader{c}, readDeadliner{c}
	}
	if c.faultyOut && (c.out.timed || s.BatchWriter != nil) {
		s.BatchWriter = batchWriter{c}
	}
	if c.faultyOut && c.out.timed {
		s.WriteDeadliner = writeDeadliner{c}
	}
	if s.Offloader != nil && (c.faultyIn || c.faultyOut) {
		s.Offloader = offloader{c}
	}
	if s.Closer != nil {
		s.Closer = c
	}
	return s
}

// Caps implements l3conn.Capper.
func (c *Conn) Caps() l3conn.Caps { return c.self }

// Close drops what is under way, closes the conn below, if that has a Close, and
// ends the goroutines. It returns the error of that Close once they have ended;
// of a conn that has neither Close nor a deadline, one stays in its Read or Write
// until that returns. Close may be called again and returns the same.
func (c *Conn) Close() error {
	c.closing.Do(func() { c.closeErr = c.end() })
	return c.closeErr
}

func (c *Conn) end() error {
	c.mu.Lock()
	c.closed = true
	pump, sender := c.pumping, c.sending
	c.mu.Unlock()
	c.in.close()
	c.out.close()
	c.readDeadline.set(time.Time{}) // keeps no timer
	c.writeDeadline.set(time.Time{})
	if c.below.Closer != nil {
		err := c.below.Closer.Close()
		join(pump)
		join(sender)
		return err
	}
	past := time.Unix(1, 0)
	if d := c.below.ReadDeadliner; pump != nil && d != nil && d.SetReadDeadline(past) == nil {
		join(pump)
		_ = d.SetReadDeadline(time.Time{}) // it could be set
	}
	if d := c.below.WriteDeadliner; sender != nil && d != nil && d.SetWriteDeadline(past) == nil {
		join(sender)
		_ = d.SetWriteDeadline(time.Time{}) // it could be set
	}
	return nil
}

// join waits for a goroutine, if there is one.
func join(done <-chan struct{}) {
	if done != nil {
		<-done
	}
}

type readDeadliner struct{ c *Conn }

func (r readDeadliner) SetReadDeadline(t time.Time) error { return r.c.set(r.c.readDeadline, t) }

type writeDeadliner struct{ c *Conn }

func (w writeDeadliner) SetWriteDeadline(t time.Time) error { return w.c.set(w.c.writeDeadline, t) }

// set sets a deadline; after Close no timer is kept for it.
func (c *Conn) set(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		d.set(t)
	}
	return nil
}

func opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "fault", Err: err}
}

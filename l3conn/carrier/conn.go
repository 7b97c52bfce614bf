package carrier

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/l3conn"
)

// Conn carries packets over the carrier of the day; see the package comment. One
// goroutine may read and any number may write at once; all other methods may be called
// from anywhere at any time. Errors are *net.OpError, but for those that l3conn names.
type Conn struct {
	cfg Config

	present atomic.Pointer[link] // nil: none; set under mu
	read    deadline
	write   deadline

	// What was counted outside mu.
	waits, lost atomic.Uint64

	closers sync.WaitGroup // goroutines that close carriers

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when something below changes
	over    error         // why there will be no carrier any more
	closed  bool
	since   time.Time // of the present state
	last    error     // why there is no carrier
	gone    *time.Timer
	running bool // Run is
	tally   Stats
	changes changes
}

// link is a carrier.
type link struct {
	caps   l3conn.Caps
	reader l3conn.BatchReader
	writer l3conn.BatchWriter
	since  time.Time
	// able: the carrier has deadlines for reading, for writing. inside counts the
	// calls that are in one which has none.
	able   [2]bool
	inside [2]atomic.Int32
}

// New returns a Conn without a carrier. It starts a timer: the Conn has to be closed.
// c is copied; a wrong value is an error that names the field.
func New(c *Config) (*Conn, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	conn := &Conn{cfg: cfg, changed: make(chan struct{}), since: time.Now()}
	conn.changes.tell = cfg.OnChange
	conn.read.set, conn.write.set = setRead, setWrite
	conn.write.way = writing
	conn.mu.Lock()
	defer conn.mu.Unlock()
	conn.waitLocked()
	return conn, nil
}

// Caps implements l3conn.Capper.
func (c *Conn) Caps() l3conn.Caps {
	return l3conn.Caps{BatchReader: c, BatchWriter: c, MTUer: c, ReadDeadliner: c, WriteDeadliner: c, Closer: c}
}

// MTU implements l3conn.MTUer; it never changes.
func (c *Conn) MTU() int { return c.cfg.MTU }

// Replace makes conn the carrier, which from then on is the Conn's, and closes the one
// before. After an error, because conn has no Close or too small an MTU or the Conn is
// over, conn is still the caller's.
func (c *Conn) Replace(conn l3conn.Conn) error {
	l := &link{caps: l3conn.Probe(conn), since: time.Now()}
	l.reader, l.writer = l.caps.Reader(), l.caps.Writer()
	if l.caps.Closer == nil {
		return opError("replace", fmt.Errorf("the carrier has no Close: %w", syscall.EINVAL))
	}
	if m := l.caps.MTU(); m > 0 && m < c.cfg.MTU {
		return opError("replace", fmt.Errorf("the carrier's MTU is %d, and %d are needed: %w", m, c.cfg.MTU, syscall.EINVAL))
	}
	c.mu.Lock()
	if c.over != nil {
		err := c.over
		c.mu.Unlock()
		return opError("replace", err)
	}
	old := c.present.Load()
	if c.gone != nil {
		c.gone.Stop()
		c.gone = nil
	}
	c.tally.Carriers++
	if old != nil {
		c.tally.Replaced++
		c.closeLocked(old)
	} else {
		c.tally.DownFor += l.since.Sub(c.since)
	}
	c.read.takeLocked(l)
	c.write.takeLocked(l)
	c.since, c.last = l.since, nil
	c.present.Store(l)
	c.changedLocked(Change{Up, l.since, nil})
	c.mu.Unlock()
	c.changes.drain()
	return nil
}

// lose takes l away, if it still is the carrier.
func (c *Conn) lose(l *link, cause error) {
	c.mu.Lock()
	if c.present.Load() != l {
		c.mu.Unlock()
		return
	}
	c.present.Store(nil)
	c.tally.Losses++
	c.since, c.last = time.Now(), cause
	c.closeLocked(l)
	c.waitLocked()
	c.changedLocked(Change{Down, c.since, cause})
	c.mu.Unlock()
	c.changes.drain()
}

// waitLocked lets the time run that the Conn lives without a carrier.
func (c *Conn) waitLocked() {
	if c.cfg.Limit < 0 {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(c.cfg.Limit, func() {
		c.mu.Lock()
		var err error
		if c.gone == t && c.present.Load() == nil {
			err = &GoneError{c.cfg.Limit, c.last}
		}
		c.mu.Unlock()
		if err != nil {
			c.end(err)
		}
	})
	c.gone = t
}

// end is the end of the Conn, unless that has come before.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	if c.over != nil {
		c.mu.Unlock()
		return
	}
	c.over = cause
	if l := c.present.Load(); l != nil {
		c.present.Store(nil)
		c.closeLocked(l)
	} else {
		c.tally.DownFor += time.Since(c.since)
	}
	c.since = time.Now()
	if c.gone != nil {
		c.gone.Stop()
		c.gone = nil
	}
	c.changedLocked(Change{Over, c.since, cause})
	c.mu.Unlock()
	c.changes.drain()
}

// closeLocked closes a carrier, which may take a while, on a goroutine that Close waits
// for.
func (c *Conn) closeLocked(l *link) {
	c.closers.Go(func() {
		_ = l.caps.Closer.Close() // it is of no use any more
	})
}

// changedLocked wakes who waits for a change, and notes it for the observer.
func (c *Conn) changedLocked(ch Change) {
	c.wakeLocked()
	c.changes.add(ch)
}

func (c *Conn) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Close ends the Conn, its Run and every call that is blocked, and returns once its
// carriers are closed. It may be called again and always returns nil.
func (c *Conn) Close() error {
	c.end(net.ErrClosed)
	c.mu.Lock()
	c.closed = true
	c.read.stopLocked()
	c.write.stopLocked()
	c.wakeLocked()
	c.mu.Unlock()
	c.closers.Wait()
	return nil
}

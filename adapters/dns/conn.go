package dns

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"l3extract/adapters/outbound"
)

const (
	// A client that pipelines more queries than this waits in Write until some are
	// answered, and so does one that has left so many bytes of answers unread. The
	// queries of one Write that needs no upstream may go beyond by one answer.
	maxPipelined = 64
	maxUnread    = 128 << 10

	prefixSize = 2 // the length before each message: RFC 1035, 4.2.2
)

var errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)

// conn is a client's connection to a Server, in memory: what is written to it are
// queries, what is read are answers. It has no goroutine.
type conn struct {
	server        *Server
	local, remote net.Addr
	source        netip.Addr
	idle          *time.Timer // nil: never

	mu            sync.Mutex // no call of the server's is made under it
	in            []byte     // the beginning of a query
	out           []byte     // answers that were not read
	waiting       int        // queries that were not answered
	written       bool       // CloseWrite was called
	over          bool       // the server has ended it: what is unread is the end
	closed        bool
	sleepers      int
	changed       chan struct{} // closed and replaced when anything above changes
	reads, writes deadline
}

func newConn(s *Server, f outbound.Flow, address string) *conn {
	c := &conn{
		server: s, source: f.Source.Addr(), changed: make(chan struct{}),
		local: net.TCPAddrFromAddrPort(f.Source), remote: name(address),
		reads: newDeadline(), writes: newDeadline(),
	}
	if to, err := netip.ParseAddrPort(address); err == nil {
		c.remote = net.TCPAddrFromAddrPort(to)
	}
	return c
}

// begin starts the idle time of a connection that was given a seat.
func (c *conn) begin() {
	if after := c.server.cfg.ConnIdleTimeout; after > 0 {
		c.mu.Lock()
		c.idle = time.AfterFunc(after, c.expire)
		c.mu.Unlock()
	}
}

// name is the address of a server that was dialled by its name.
type name string

func (name) Network() string  { return "tcp" }
func (n name) String() string { return string(n) }

// Write takes queries, which may be cut anywhere.
func (c *conn) Write(b []byte) (n int, err error) {
	for {
		query, took, err := c.take(b[n:])
		n += took
		if err != nil {
			return n, c.opError("write", err)
		}
		if query == nil {
			return n, nil
		}
		c.server.stats.streamed.Add(1)
		if !c.server.handle(query, c.source, false, c.answered) {
			c.mu.Lock()
			c.waiting--
			c.end()
			c.mu.Unlock()
		}
	}
}

// take moves bytes of b to the query that is being received, waiting for room, and
// returns that query once it is whole. Each must be answered by one call of answered;
// what cannot be a query ends the connection.
func (c *conn) take(b []byte) (query []byte, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return nil, 0, io.ErrClosedPipe
		case c.written || c.over:
			return nil, 0, syscall.EPIPE
		case c.writes.passed():
			return nil, 0, os.ErrDeadlineExceeded
		}
		if c.waiting < maxPipelined && len(c.out) < maxUnread || len(b) == 0 {
			break
		}
		c.sleep(&c.writes)
	}
	for {
		need := prefixSize
		if len(c.in) >= prefixSize {
			need += int(binary.BigEndian.Uint16(c.in))
		}
		if need > prefixSize+maxQuery {
			c.server.stats.malformed.Add(1)
			c.end()
			return nil, n, syscall.EPIPE
		}
		more := min(need-len(c.in), len(b)-n)
		c.in = append(c.in, b[n:n+more]...)
		n += more
		if len(c.in) < need {
			return nil, n, nil
		}
		if need > prefixSize || len(c.in) == prefixSize && binary.BigEndian.Uint16(c.in) == 0 {
			break
		}
	}
	query = c.in[prefixSize:]
	c.in = nil
	c.waiting++
	c.touch()
	return query, n, nil
}

// answered gives the client an answer.
func (c *conn) answered(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	if !c.closed && !c.over {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(len(p)))
		c.out = append(c.out, p...)
		c.touch()
	}
	c.wake()
}

// Read returns answers.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", io.ErrClosedPipe)
		case c.reads.passed():
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case len(c.out) > 0 || len(b) == 0:
			n := copy(b, c.out)
			if c.out = c.out[n:]; len(c.out) == 0 {
				c.out = nil // an idle connection holds no buffer
			}
			c.wake()
			return n, nil
		case c.over || c.written && c.waiting == 0:
			return 0, io.EOF
		}
		c.sleep(&c.reads)
	}
}

// CloseWrite says that no more queries come. Those that came are answered.
func (c *conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("close", io.ErrClosedPipe)
	}
	c.written = true
	c.wake()
	return nil
}

// Close ends the connection. Answers to what it has asked go nowhere. It may be called
// again.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.in, c.out = nil, nil
	if c.idle != nil {
		c.idle.Stop()
	}
	c.reads.set(time.Time{})
	c.writes.set(time.Time{})
	c.wake()
	c.mu.Unlock()
	c.server.forget(c)
	return nil
}

// expire ends a connection on which nothing happens.
func (c *conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.over {
		return
	}
	if c.waiting > 0 {
		c.touch()
		return
	}
	c.server.stats.connsIdle.Add(1)
	c.end()
}

// end lets the client read what there is, and no more. The lock is held.
func (c *conn) end() {
	c.over = true
	c.in = nil
	c.wake()
}

// touch begins the idle time anew. The lock is held.
func (c *conn) touch() {
	if c.idle != nil {
		c.idle.Reset(c.server.cfg.ConnIdleTimeout)
	}
}

// wake has all who sleep look again. The lock is held.
func (c *conn) wake() {
	if c.sleepers > 0 {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// sleep waits for a change or a deadline. The lock is held, but not meanwhile.
func (c *conn) sleep(d *deadline) {
	changed, passed := c.changed, d.wait()
	c.sleepers++
	c.mu.Unlock()
	select {
	case <-changed:
	case <-passed:
	}
	c.mu.Lock()
	c.sleepers--
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	return c.setDeadlines("set", t, &c.reads, &c.writes)
}
func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadlines("set", t, &c.reads) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines("set", t, &c.writes) }

func (c *conn) setDeadlines(op string, t time.Time, ds ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError(op, io.ErrClosedPipe)
	}
	for _, d := range ds {
		d.set(t)
	}
	c.wake()
	return nil
}

// opError makes err one that net.Conn gives; io.ErrClosedPipe stands for net.ErrClosed.
func (c *conn) opError(op string, err error) error {
	if err == io.ErrClosedPipe {
		err = net.ErrClosed
	} else if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// deadline is a point in time that can be waited for and moved. The conn's lock guards it.
type deadline struct {
	timer *time.Timer
	at    time.Time
	done  chan struct{} // closed when it is reached
}

func newDeadline() deadline { return deadline{done: make(chan struct{})} }

func (d *deadline) wait() <-chan struct{} { return d.done }

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	done := make(chan struct{})
	d.done = done // who waits for the one before is woken by the caller
	if t.IsZero() {
		return
	}
	d.timer = time.AfterFunc(time.Until(t), func() { close(done) })
}

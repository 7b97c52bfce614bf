package sshtunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"l3extract/adapters/internal/socksaddr"
)

// conn is a channel as a net.Conn.
type conn struct {
	ch        ssh.Channel
	cl        *client
	to        socksaddr.Addr
	near, far net.Conn // a pipe that pump fills: a channel's Read knows no deadline, nor our own Close

	closed  atomic.Bool
	expired atomic.Bool // the deadline for writing has passed

	mu    sync.Mutex
	timer *time.Timer // of writing; nil: no deadline
}

func newConn(ch ssh.Channel, cl *client, to socksaddr.Addr) *conn {
	c := &conn{ch: ch, cl: cl, to: to}
	c.near, c.far = net.Pipe()
	return c
}

// pumpBuffer is what waits for a Read, in bytes; more waits in the channel.
const pumpBuffer = 16 << 10

// pump brings what the destination says.
func (c *conn) pump() {
	b := make([]byte, pumpBuffer)
	for {
		n, err := c.ch.Read(b)
		if n > 0 {
			if _, err := c.far.Write(b[:n]); err != nil {
				return // the conn was closed
			}
		}
		if err != nil {
			_ = c.far.Close() // returns nil
			return
		}
	}
}

// Read returns io.EOF when the destination has ended, and an error when the SSH
// connection has: a channel itself does not tell one from the other.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.near.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, c.opError("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.ch.Write(b)
	if err != nil {
		return n, c.opError("write", err)
	}
	return n, nil
}

// NetConn returns the connection to the server.
func (c *conn) NetConn() net.Conn { return c.cl.wire.Conn }

// CloseWrite ends what is sent.
func (c *conn) CloseWrite() error {
	if err := c.ch.CloseWrite(); err != nil {
		return c.opError("close", err)
	}
	return nil
}

// Close ends the channel.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	_ = c.SetWriteDeadline(time.Time{})
	_ = c.near.Close() // returns nil
	_ = c.ch.Close()   // the other end may have closed it: then there is nothing left to close
	return nil
}

func (c *conn) opError(op string, err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), c.expired.Load():
		err = os.ErrDeadlineExceeded
	case c.closed.Load():
		err = net.ErrClosed
	case c.cl.wire.broken.Load():
		err = errBroken
	case err == io.EOF && op == "read":
		return err
	case err == io.EOF: // written to what has ended
		err = errGone
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

var errGone = errors.New("the channel has ended")

// LocalAddr returns the address of the SSH connection: the channel's is not known.
func (c *conn) LocalAddr() net.Addr { return c.cl.wire.LocalAddr() }

// RemoteAddr returns the destination.
func (c *conn) RemoteAddr() net.Addr {
	if c.to.IP.IsValid() {
		return &net.TCPAddr{IP: c.to.IP.AsSlice(), Port: int(c.to.Port)}
	}
	return named(c.to.String())
}

// named is a destination of which only the name is known.
type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }

// SetDeadline sets both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline is as net.Conn says.
func (c *conn) SetReadDeadline(t time.Time) error { return c.near.SetReadDeadline(t) }

// SetWriteDeadline ends the conn when t passes.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if !t.IsZero() && !c.closed.Load() {
		c.timer = time.AfterFunc(time.Until(t), c.expire)
	}
	return nil
}

// expire ends the conn.
func (c *conn) expire() {
	c.expired.Store(true)
	_ = c.near.Close() // returns nil
	_ = c.ch.Close()   // there is nobody to tell
}

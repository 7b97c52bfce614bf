package datagram

import (
	"encoding/binary"
	"errors"
	"net"
	"os"

	"l3extract/l3conn"
)

// maxFaults is how many errors in a row a Read passes over: more is a socket that
// spins.
const maxFaults = 100

// Read waits for a packet of the peer's.
func (c *Conn) Read(b []byte) (int, error) {
	if c.fast != nil {
		return c.fast.read(b)
	}
	if c.room == nil {
		c.room = make([]byte, 1<<16) // a datagram that is too long for b must be told from one that fits
	}
	for faults := 0; ; {
		n, from, err := c.receive(c.room)
		if err != nil {
			if faults++; faults < maxFaults && c.passes(err) {
				continue
			}
			return 0, endError("read", err)
		}
		faults = 0
		if p := c.room[:n]; n == 0 || !c.admits(from, p) {
			continue
		}
		c.counters.took(1, n)
		if n > len(b) {
			c.counters.short.Add(1)
			return 0, l3conn.ErrShortBuffer
		}
		return copy(b, c.room[:n]), nil
	}
}

func (c *Conn) receive(b []byte) (n int, from net.Addr, err error) {
	if c.stream != nil {
		n, err = c.stream.Read(b)
		return n, nil, err
	}
	return c.packets.ReadFrom(b)
}

// passes counts an error of a read, if it is one that passes.
func (c *Conn) passes(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	counter, _ := c.counters.fault(err, false)
	if counter == nil {
		return false
	}
	counter.Add(1)
	return true
}

// admits reports whether datagram p, which came from there, is the peer's.
func (c *Conn) admits(from net.Addr, p []byte) bool {
	if c.stream != nil {
		return true
	}
	if from == nil {
		c.counters.strangers.Add(1) // a Unix socket without a name
		return false
	}
	return c.admitsPeer(newPeer(from), p)
}

func (c *Conn) admitsPeer(from *peer, p []byte) bool {
	known := c.peer.Load()
	switch {
	case known != nil && known.same(from):
		return true
	case known != nil && !c.cfg.Roam, !plausible(p), c.cfg.Admit != nil && !c.cfg.Admit(from.addr, p):
		c.counters.strangers.Add(1)
		return false
	}
	if known != nil {
		c.counters.roamed.Add(1)
	}
	c.peer.Store(from)
	c.askPath(c.socket, from.addr)
	return true
}

// plausible reports whether p is an IP packet of the length that it claims.
func plausible(p []byte) bool {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return int(binary.BigEndian.Uint16(p[2:])) == len(p)
	case len(p) >= 40 && p[0]>>4 == 6:
		return int(binary.BigEndian.Uint16(p[4:])) == len(p)-40
	}
	return false
}

// Write sends a packet.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.fast != nil {
		if n, err := c.fast.WriteBatch([][]byte{p}); n == 0 {
			return 0, err
		}
		return len(p), nil
	}
	if len(p) > c.MTU() {
		c.counters.tooLong.Add(1)
		return 0, l3conn.ErrTooLong
	}
	err := c.send(p)
	if counter, _ := c.counters.fault(err, true); counter == &c.counters.refused {
		counter.Add(1) // of a packet before this one, which was not sent
		err = c.send(p)
	}
	if err != nil {
		return 0, c.lost(err)
	}
	c.counters.sent(1, len(p))
	return len(p), nil
}

func (c *Conn) send(p []byte) (err error) {
	if c.stream != nil {
		_, err = c.stream.Write(p)
		return err
	}
	to := c.peer.Load()
	if to == nil {
		return errNoPeer
	}
	_, err = c.packets.WriteTo(p, to.addr)
	return err
}

// errNoPeer is the fault of a Write before the peer is known.
var errNoPeer = errors.New("nobody has sent a packet yet")

// lost counts a packet that was not sent and gives the error that l3conn has for it.
func (c *Conn) lost(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return endError("write", err)
	}
	counter, says := c.counters.fault(err, true)
	if counter == nil {
		return endError("write", err)
	}
	counter.Add(1)
	if says == l3conn.ErrTooLong {
		c.askPath(c.socket, c.Peer())
	}
	return says
}

// endError is an error that ends a call and, unless it is a deadline, the conn.
func endError(op string, err error) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	case l3conn.Transient(err):
		err = errors.New(err.Error())
	default:
		return ioError(op, err)
	}
	return &net.OpError{Op: op, Net: "datagram", Err: err}
}

package raw

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// The bounds of a conn's queue: beyond them a datagram is dropped and counted.
const (
	queueLen   = 256
	queueBytes = 1 << 20
)

// Conn is a net.PacketConn of one IP protocol, as *net.IPConn is one. Addresses are
// *net.IPAddr. All methods may be called at once.
type Conn struct {
	t       *Table
	network string
	local   netip.Addr // unspecified: all own ones of the family
	key     key

	mu       sync.Mutex
	readable sync.Cond // the queue, err or the deadline changed
	queue    []datagram
	bytes    int
	err      error // of calls after the end; nil while it lives
	read     time.Time
	write    time.Time
	timer    *time.Timer // wakes readers at read; nil until needed
}

// datagram is what one packet carried.
type datagram struct {
	src     netip.Addr
	payload []byte
}

func newConn(t *Table, network string, local netip.Addr, k key) *Conn {
	c := &Conn{t: t, network: network, local: local, key: k}
	c.readable.L = &c.mu
	return c
}

// takes reports whether the conn is bound to a.
func (c *Conn) takes(a netip.Addr) bool { return c.local.IsUnspecified() || c.local == a }

// enqueue puts a copy of what p carries into the queue. It never waits.
func (c *Conn) enqueue(p *packet.Packet) {
	size := len(p.L4)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return // it has just been closed: as if it had come too late
	}
	full := len(c.queue) >= queueLen || len(c.queue) > 0 && c.bytes+size > queueBytes
	if full || !c.t.env.Budget.Take(budget.Datagram, int64(size)) {
		c.t.env.Drops.Add(drop.RawQueueFull)
		return
	}
	c.queue = append(c.queue, datagram{p.Src, bytes.Clone(p.L4)})
	c.bytes += size
	c.readable.Signal()
}

// ReadFrom implements net.PacketConn. A datagram longer than b is cut, as with
// *net.IPConn.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	d, err := c.next()
	if err != nil {
		return 0, nil, c.opError("read", nil, err)
	}
	return copy(b, d.payload), &net.IPAddr{IP: d.src.AsSlice()}, nil
}

// next waits for a datagram and takes it out.
func (c *Conn) next() (datagram, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.err != nil:
			return datagram{}, c.err
		case passed(c.read):
			return datagram{}, os.ErrDeadlineExceeded
		case len(c.queue) > 0:
			d := c.queue[0]
			c.queue[0] = datagram{}
			if c.queue = c.queue[1:]; len(c.queue) == 0 {
				c.queue = nil
			}
			c.give(len(d.payload))
			return d, nil
		}
		c.readable.Wait()
	}
}

// give returns memory of the queue.
func (c *Conn) give(n int) {
	c.bytes -= n
	c.t.env.Budget.Give(budget.Datagram, int64(n))
}

// WriteTo implements net.PacketConn: it sends b behind an IP header to addr, a
// *net.IPAddr, without waiting. The checksum of ICMP is set here. It fails with
// EMSGSIZE for what no IP packet holds, EDESTADDRREQ without an address, EAFNOSUPPORT
// for one of the other family, and as DialContext for one that is not behind the
// packet conn.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if err := c.send(b, addr); err != nil {
		return 0, c.opError("write", addr, err)
	}
	return len(b), nil
}

func (c *Conn) send(b []byte, addr net.Addr) error {
	c.mu.Lock()
	err := c.err
	if err == nil && passed(c.write) {
		err = os.ErrDeadlineExceeded
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	to, err := addrOf(addr)
	if err != nil {
		return err
	}
	if to.Is6() != c.key.v6 {
		return syscall.EAFNOSUPPORT
	}
	from, err := c.t.env.Source(to) // refuses what is not behind the conn
	if err != nil {
		return err
	}
	if !c.local.IsUnspecified() {
		from = c.local
	}
	env := &c.t.env
	pkt := packet.AppendIP(nil, from, to, c.key.proto, 0, 0, b)
	if len(pkt) == 0 {
		env.Drops.Add(drop.RawTooLarge)
		if len(b) < packet.EchoLen {
			return syscall.EINVAL // no ICMP message
		}
		return syscall.EMSGSIZE
	}
	id := env.Uint32()
	packet.Identify(pkt, uint16(id))
	sent := true
	return packet.Fragment(pkt, env.MTU, id, func(f []byte) { sent = sent && env.Out.WriteDatagram(f) })
}

// addrOf returns the address in addr, unmapped and without a zone.
func addrOf(addr net.Addr) (netip.Addr, error) {
	ip, ok := addr.(*net.IPAddr)
	if addr == nil || ok && ip == nil {
		return netip.Addr{}, syscall.EDESTADDRREQ
	}
	if !ok {
		return netip.Addr{}, syscall.EINVAL
	}
	a, ok := netip.AddrFromSlice(ip.IP)
	if a = a.Unmap(); !ok || a.IsUnspecified() {
		return netip.Addr{}, syscall.EDESTADDRREQ
	}
	return a, nil
}

// Close ends the conn: calls that wait return net.ErrClosed, and what nobody has read
// is gone. It never waits, may be called any number of times, and returns nil.
func (c *Conn) Close() error {
	c.end(net.ErrClosed)
	return nil
}

func (c *Conn) end(err error) {
	c.t.remove(c)
	c.mu.Lock()
	if c.err == nil {
		c.err = err
		c.give(c.bytes)
		c.queue = nil
		c.disarm()
	}
	c.mu.Unlock()
	c.readable.Broadcast()
}

// LocalAddr returns the address that the conn listens on, a *net.IPAddr; unspecified
// for all own ones of its family.
func (c *Conn) LocalAddr() net.Addr { return &net.IPAddr{IP: c.local.AsSlice()} }

// SetDeadline implements net.PacketConn.
func (c *Conn) SetDeadline(t time.Time) error { return c.set(t, true, true) }

// SetReadDeadline implements net.PacketConn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(t, true, false) }

// SetWriteDeadline implements net.PacketConn. Writes never wait: from then on they
// fail.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.set(t, false, true) }

func (c *Conn) set(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.opError("set", nil, c.err)
	}
	if write {
		c.write = t
	}
	if read {
		c.read = t
		c.disarm()
		if !t.IsZero() {
			c.timer = time.AfterFunc(time.Until(t), c.wake) // ended by disarm, or by itself
		}
		c.readable.Broadcast()
	}
	return nil
}

// wake runs on the timer's goroutine. The mutex orders it behind a reader that has
// looked at the time and does not wait yet.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readable.Broadcast()
}

// disarm stops the timer; one that is too late to stop wakes readers for nothing.
func (c *Conn) disarm() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && time.Until(deadline) <= 0 }

func (c *Conn) opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: c.network, Source: c.LocalAddr(), Addr: addr, Err: err}
}

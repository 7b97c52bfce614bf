package ether

import (
	"net/netip"
	"slices"

	"l3extract/l3conn"
)

// batch is the memory of a call of WriteBatch.
type batch struct {
	buf    []byte
	ends   []int // of each frame in buf
	of     []int // the packet that it carries
	frames [][]byte
	one    [1][]byte
}

// Write sends a packet.
func (c *Conn) Write(p []byte) (int, error) {
	b := c.scratch.Get().(*batch)
	b.one[0] = p
	n, err := c.write(b, b.one[:])
	b.one[0] = nil
	c.scratch.Put(b)
	if n == 0 {
		return 0, err
	}
	return len(p), nil
}

// WriteBatch implements l3conn.BatchWriter.
func (c *Conn) WriteBatch(pkts [][]byte) (n int, err error) {
	b := c.scratch.Get().(*batch)
	defer c.scratch.Put(b)
	for n < len(pkts) {
		some := pkts[n:min(n+maxBatch, len(pkts))]
		done, err := c.write(b, some)
		n += done
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// write sends at most maxBatch packets.
func (c *Conn) write(b *batch, pkts [][]byte) (int, error) {
	if c.closed.Load() {
		return 0, errClosed("write")
	}
	b.buf, b.ends, b.of = b.buf[:0], b.ends[:0], b.of[:0]
	for i, p := range pkts {
		if len(p) > c.cfg.MTU {
			if n, err := c.send(b, i); err != nil {
				return n, err
			}
			return i, l3conn.ErrTooLong
		}
		to, kind, ok := c.whereTo(p)
		if !ok {
			continue // lost, and counted
		}
		b.buf = append(appendHeader(b.buf, to, c.cfg.MAC, kind), p...)
		b.ends, b.of = append(b.ends, len(b.buf)), append(b.of, i)
	}
	return c.send(b, len(pkts))
}

// send writes the frames of b, which stand for so many packets, and returns how many of
// these are on their way.
func (c *Conn) send(b *batch, packets int) (int, error) {
	if len(b.ends) == 0 {
		return packets, nil
	}
	b.frames = b.frames[:0]
	from := 0
	for _, to := range b.ends {
		b.frames = append(b.frames, b.buf[from:to:to])
		from = to
	}
	n, err := c.writer.WriteBatch(b.frames)
	n = min(max(n, 0), len(b.frames))
	if n > 0 {
		c.counters.framesOut.Add(uint64(n))
		c.counters.bytesOut.Add(uint64(b.ends[n-1]))
	}
	if n == len(b.frames) {
		return packets, nil
	}
	return b.of[n], err
}

// whereTo returns the MAC that a packet goes to. One that cannot go anywhere is counted.
func (c *Conn) whereTo(p []byte) (to MAC, kind uint16, ok bool) {
	var a netip.Addr
	switch {
	case len(p) >= header4 && p[0]>>4 == 4:
		kind, a = typeIPv4, netip.AddrFrom4([4]byte(p[16:]))
	case len(p) >= header6 && p[0]>>4 == 6:
		kind, a = typeIPv6, netip.AddrFrom16([16]byte(p[24:]))
	case len(p) == 0: // carries nothing
		return to, 0, false
	default:
		c.counters.noPacket.Add(1)
		return to, 0, false
	}
	switch {
	case a.IsMulticast():
		return groupMAC(a), kind, true
	case c.toMany(a):
		return broadcastMAC, kind, true
	}
	if to, ok = c.table.find(a); ok {
		return to, kind, true
	}
	return to, kind, c.ask(a, kind, p, &to)
}

// toMany reports whether a is a broadcast address.
func (c *Conn) toMany(a netip.Addr) bool { return slices.Contains(c.many, a) }

package ether

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"

	"l3extract/l3conn"
)

// reader is what was read of the carrier and not yet given out. It belongs to the one
// goroutine that reads.
type reader struct {
	bufs       [][]byte
	sizes      []int
	next, have int
	err        error // what came together with them

	one     [1][]byte // of Read
	oneSize [1]int
}

// init makes room for so many frames.
func (r *reader) init(frames, size int) {
	r.sizes = make([]int, frames)
	r.bufs = make([][]byte, frames)
	for i := range r.bufs {
		r.bufs[i] = make([]byte, size)
	}
}

// Read waits for a packet.
func (c *Conn) Read(b []byte) (int, error) {
	r := &c.in
	r.one[0] = b
	n, err := c.read(r.one[:], r.oneSize[:])
	r.one[0] = nil
	switch {
	case n == 0:
		return 0, err
	case r.oneSize[0] == 0:
		return 0, l3conn.ErrShortBuffer
	}
	return r.oneSize[0], nil
}

// BatchSize implements l3conn.BatchReader.
func (c *Conn) BatchSize() int { return len(c.in.bufs) }

// ReadBatch implements l3conn.BatchReader.
func (c *Conn) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	return c.read(bufs[:min(len(bufs), c.BatchSize())], sizes)
}

// read waits for packets. One that does not fit has size 0.
func (c *Conn) read(bufs [][]byte, sizes []int) (n int, err error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	r := &c.in
	for {
		if c.closed.Load() {
			return 0, errClosed("read")
		}
		if now := c.now(); r.next < r.have {
			for ; r.next < r.have && n < len(bufs); r.next++ {
				if p := c.inbound(r.bufs[r.next][:r.sizes[r.next]], now); p != nil {
					sizes[n] = 0
					if len(p) <= len(bufs[n]) {
						sizes[n] = copy(bufs[n], p)
					}
					n++
				}
			}
			if n > 0 {
				c.counters.packetsIn.Add(uint64(n))
				return n, nil
			}
			continue
		}
		if err := r.err; err != nil {
			r.err = nil
			return 0, err
		}
		r.next = 0
		r.have, err = c.reader.ReadBatch(r.bufs, r.sizes)
		switch {
		case err != nil && errors.Is(err, io.ErrShortBuffer):
			c.counters.tooLong.Add(1)
		case err != nil:
			r.err = err
		case r.have == 0:
			return 0, nil
		}
	}
}

// inbound judges a frame and returns the packet in it that is to be handed on, nil if
// there is none.
func (c *Conn) inbound(f []byte, now time.Duration) []byte {
	n := &c.counters
	n.framesIn.Add(1)
	n.bytesIn.Add(uint64(len(f)))
	if len(f) == 0 { // it did not fit
		n.tooLong.Add(1)
		return nil
	}
	if len(f) < headerLen {
		n.malformed.Add(1)
		return nil
	}
	to, from, kind := MAC(f[0:6]), MAC(f[6:12]), binary.BigEndian.Uint16(f[12:])
	switch {
	case !from.one():
		n.malformed.Add(1)
		return nil
	case from == c.cfg.MAC:
		n.ownMAC.Add(1)
		return nil
	case to != c.cfg.MAC && !to.group():
		n.otherMAC.Add(1)
		return nil
	}
	p := f[headerLen:]
	switch {
	case kind == typeIPv4:
		return c.ipv4(from, p, now)
	case kind == typeIPv6:
		return c.ipv6(from, p, now)
	case kind == typeARP:
		c.arp(from, p, now)
	case vlan(kind):
		n.vlan.Add(1)
	case kind < minType:
		n.llc.Add(1)
	default:
		n.kind(kind)
	}
	return nil
}

const (
	header4, header6 = 20, 40
	protoUDP         = 17
	protoICMPv6      = 58
)

func (c *Conn) ipv4(from MAC, p []byte, now time.Duration) []byte {
	if len(p) < header4 || p[0]>>4 != 4 {
		c.counters.malformed.Add(1)
		return nil
	}
	n := int(binary.BigEndian.Uint16(p[2:]))
	if n < header4 || n > len(p) {
		c.counters.malformed.Add(1)
		return nil
	}
	if p = p[:n]; n > c.cfg.MTU {
		c.counters.tooLong.Add(1)
		return nil
	}
	src, dst := netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	if c.leases != nil && c.forDHCP(p, src, dst) {
		c.dhcp(from, p, now)
		return nil
	}
	if !src.IsUnspecified() && !c.admit(src, from, now) {
		return nil
	}
	return p
}

func (c *Conn) ipv6(from MAC, p []byte, now time.Duration) []byte {
	if len(p) < header6 || p[0]>>4 != 6 {
		c.counters.malformed.Add(1)
		return nil
	}
	n := header6 + int(binary.BigEndian.Uint16(p[4:]))
	if n > len(p) {
		c.counters.malformed.Add(1)
		return nil
	}
	if p = p[:n]; n > c.cfg.MTU {
		c.counters.tooLong.Add(1)
		return nil
	}
	src := netip.AddrFrom16([16]byte(p[8:]))
	if c.local6.IsValid() && p[6] == protoICMPv6 && n > header6 && p[header6] >= routerSolicitation && p[header6] <= redirect {
		c.ndp(from, p, now)
		return nil
	}
	if !src.IsUnspecified() && !c.admit(src, from, now) {
		return nil
	}
	return p
}

// admit notes that address a is of m, and reports whether it may be.
func (c *Conn) admit(a netip.Addr, m MAC, now time.Duration) bool {
	if c.table.saw(a, m, now) {
		return true
	}
	switch {
	case c.ours(a):
		c.counters.claims.Add(1)
		c.defend(a, now)
		return false
	case !c.onLink(a) && !c.cfg.Routed, a.IsMulticast(), a.IsUnspecified(), c.toMany(a):
		c.counters.foreign.Add(1)
		return false
	}
	given := false
	if c.leases != nil {
		if owner, ok := c.leases.owner(a, now); ok && owner != m {
			c.counters.spoofed.Add(1)
			return false
		} else if ok {
			given = true
		}
	}
	switch c.table.claim(a, m, given, now) {
	case taken:
		c.counters.spoofed.Add(1)
		return false
	case crowded:
		c.counters.crowded.Add(1)
		return false
	}
	c.found(a, m)
	return true
}

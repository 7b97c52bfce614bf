package ether

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// ARP (RFC 826) for IPv4 over Ethernet.
const (
	arpLen     = 28
	arpRequest = 1
	arpReply   = 2
)

// arpFrame is a frame with a message of the gateway's, which says that src is its own.
func (c *Conn) arpFrame(to MAC, op uint16, src netip.Addr, target MAC, dst netip.Addr) []byte {
	f := appendHeader(make([]byte, 0, headerLen+arpLen), to, c.cfg.MAC, typeARP)
	f = append(f, 0, 1, typeIPv4>>8, typeIPv4&0xff, 6, 4)
	f = binary.BigEndian.AppendUint16(f, op)
	s, d := src.As4(), dst.As4()
	f = append(append(f, c.cfg.MAC[:]...), s[:]...)
	return append(append(f, target[:]...), d[:]...)
}

// arp hears and answers a message.
func (c *Conn) arp(from MAC, p []byte, now time.Duration) {
	if len(p) < arpLen || [6]byte(p) != [6]byte{0, 1, typeIPv4 >> 8, typeIPv4 & 0xff, 6, 4} {
		c.counters.malformed.Add(1)
		return
	}
	op, sender := binary.BigEndian.Uint16(p[6:]), MAC(p[8:])
	src, dst := netip.AddrFrom4([4]byte(p[14:])), netip.AddrFrom4([4]byte(p[24:]))
	switch {
	case op != arpRequest && op != arpReply:
		c.counters.malformed.Add(1)
		return
	case sender != from:
		c.counters.spoofed.Add(1)
		return
	}
	probe := src.IsUnspecified() // whose sender has no address yet (RFC 5227)
	if !probe && !c.admit(src, from, now) {
		return
	}
	c.counters.arp.Add(1)
	switch {
	case op != arpRequest:
	case c.ours(dst), c.cfg.Proxy && !probe && src != dst && !c.onLink(dst) && !c.known(dst):
		c.answer(c.arpFrame(from, arpReply, dst, from, src))
	}
}

// known reports whether address a is a guest's.
func (c *Conn) known(a netip.Addr) bool {
	_, ok := c.table.find(a)
	return ok
}

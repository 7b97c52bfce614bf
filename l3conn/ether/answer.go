package ether

import (
	"encoding/binary"
	"net/netip"
	"time"

	"l3extract/l3conn/checksum"
)

const (
	// maxAnswers is how many of the gateway's own frames wait for the carrier.
	maxAnswers = 64
	// defenceInterval is the least time between two defences (RFC 5227, 2.4).
	defenceInterval = 10 * time.Second
)

// answer has a frame of the gateway's sent.
func (c *Conn) answer(f []byte) {
	select {
	case c.answers <- f:
	default:
		c.counters.answersLost.Add(1)
	}
}

// answering sends the gateway's own frames until Close, and advertises it.
func (c *Conn) answering() {
	for _, a := range c.own {
		c.announce(a)
	}
	var due <-chan time.Time
	if !c.cfg.RA.Off {
		c.advertise(broadcastMAC, allNodes)
		every := time.NewTicker(c.cfg.RA.Lifetime / 3)
		defer every.Stop()
		due = every.C
	}
	for {
		select {
		case <-c.stop:
			return
		case <-due:
			c.advertise(groupMAC(allNodes), allNodes)
		case f := <-c.answers:
			if _, err := c.carrier.Conn.Write(f); err != nil {
				c.counters.answersLost.Add(1)
				continue
			}
			c.counters.framesOut.Add(1)
			c.counters.bytesOut.Add(uint64(len(f)))
		}
	}
}

// defend tells everybody whose address a is, because somebody else has said it were his.
func (c *Conn) defend(a netip.Addr, now time.Duration) {
	if now-c.defence >= defenceInterval {
		c.defence = now
		c.announce(a)
	}
}

// announce tells everybody that address a is the gateway's.
func (c *Conn) announce(a netip.Addr) {
	if a.Is4() {
		c.answer(c.arpFrame(broadcastMAC, arpRequest, a, MAC{}, a))
		return
	}
	c.answer(c.advertisement(groupMAC(allNodes), a, allNodes, false, true))
}

// question asks the segment where address a is.
func (c *Conn) question(a netip.Addr) {
	if a.Is4() {
		if from, ok := c.own4(); ok {
			c.answer(c.arpFrame(broadcastMAC, arpRequest, from, MAC{}, a))
		}
		return
	}
	c.solicit(a)
}

// own4 is the gateway's address of IPv4.
func (c *Conn) own4() (netip.Addr, bool) {
	for _, a := range c.own {
		if a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// pseudo is the sum of the pseudo header of a payload of n bytes.
func pseudo(src, dst netip.Addr, proto byte, n int) uint64 {
	s, d := src.AsSlice(), dst.AsSlice()
	return uint64(checksum.Sum(s)) + uint64(checksum.Sum(d)) + uint64(proto) + uint64(n>>16) + uint64(n&0xffff)
}

// udp4 is a frame with a datagram.
func (c *Conn) udp4(to MAC, src, dst netip.AddrPort, payload []byte) []byte {
	f := appendHeader(make([]byte, 0, headerLen+header4+8+len(payload)), to, c.cfg.MAC, typeIPv4)
	f = append(f, 0x45, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(header4+8+len(payload)))
	f = append(f, 0, 0, 0, 0, 64, protoUDP, 0, 0)
	s, d := src.Addr().As4(), dst.Addr().As4()
	f = append(append(f, s[:]...), d[:]...)
	ip := f[headerLen:]
	binary.BigEndian.PutUint16(ip[10:], ^checksum.Sum(ip))
	f = binary.BigEndian.AppendUint16(f, src.Port())
	f = binary.BigEndian.AppendUint16(f, dst.Port())
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(payload)))
	f = append(append(f, 0, 0), payload...)
	u := f[headerLen+header4:]
	sum := ^checksum.Fold(pseudo(src.Addr(), dst.Addr(), protoUDP, len(u)) + uint64(checksum.Sum(u)))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(u[6:], sum)
	return f
}

package netstack

import (
	"encoding/binary"

	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"l3extract/internal/link"
	"l3extract/internal/packet"
)

// maxSegment is the largest TCP segment that the engine may give to the link: an
// IP packet of 64 KiB. Per-packet work in the engine is what bulk transfer costs
// most, so it is asked for segments and we cut them (RFC 9293, 3.7.1) ourselves.
const maxSegment = 1<<16 - 1

// GSOMaxSize implements gstack.GSOEndpoint.
func (l *linkEndpoint) GSOMaxSize() uint32 { return maxSegment }

// SupportedGSO implements gstack.GSOEndpoint. With it the engine leaves the
// checksum of data segments to us.
func (l *linkEndpoint) SupportedGSO() gstack.SupportedGSO { return gstack.HostGSOSupported }

// template is the IP and TCP header from which the packets of one segment are
// made; everything but the fields that differ is summed once.
type template struct {
	header  []byte // IP and TCP header of the segment
	ip      int    // length of the IP header
	v4      bool
	seq     uint32
	id      uint16 // IPv4 identification of the first packet
	flags   uint8  // of the last packet; those before lack FIN and PSH
	payload int    // bytes per packet
}

// cut sends the packets of one data segment whose checksum the engine left to
// us, and returns how many there were.
func (l *linkEndpoint) cut(pkt *gstack.PacketBuffer) int {
	ip, tcp := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	var t template
	t.header = append(append(make([]byte, 0, 120), ip...), tcp...)
	t.ip = len(ip)
	t.v4 = pkt.NetworkProtocolNumber == gheader.IPv4ProtocolNumber
	t.seq = binary.BigEndian.Uint32(tcp[4:])
	t.flags = tcp[13]
	t.payload = int(pkt.GSOOptions.MSS)
	if t.payload <= 0 {
		t.payload = l.link.MTU() - len(t.header)
	}
	if t.v4 {
		t.id = binary.BigEndian.Uint16(ip[4:])
	}
	left := pkt.Data().Size()
	c := cutter{port: l, t: &t, left: left}
	if left == 0 {
		c.next()
	} else {
		_, _ = pkt.Data().ReadTo(&c, true) // a cutter never fails
	}
	return c.sent
}

// cutter is fed the payload in chunks and sends a packet whenever one is full.
type cutter struct {
	port *linkEndpoint
	t    *template
	left int // payload that is still to come, with what is in the frame
	f    *link.Frame
	n    int // bytes in the frame
	room int // payload that still fits it
	sent int
}

// begin starts a packet: its header is the template's.
func (c *cutter) begin() {
	size := min(c.left, c.t.payload)
	c.f = c.port.link.Frame(len(c.t.header) + size)
	c.n = copy(c.f.Bytes(), c.t.header)
	c.room = size
}

// Write implements io.Writer for the engine.
func (c *cutter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if c.f == nil {
			c.begin()
		}
		n := copy(c.f.Bytes()[c.n:c.n+c.room], p)
		c.n += n
		c.room -= n
		c.left -= n
		p = p[n:]
		if c.room == 0 {
			c.next()
		}
	}
	return total, nil
}

// next completes the packet in the frame and sends it.
func (c *cutter) next() {
	if c.f == nil {
		c.begin()
	}
	t := c.t
	b := c.f.Bytes()[:c.n]
	l4 := b[t.ip:]
	if t.v4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], t.id)
		t.id++
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^packet.Checksum(b[:t.ip], 0))
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-gheader.IPv6MinimumSize))
	}
	binary.BigEndian.PutUint32(l4[4:], t.seq)
	if c.left > 0 {
		l4[13] = t.flags &^ (packet.FIN | packet.PSH)
	} else {
		l4[13] = t.flags
	}
	l4[16], l4[17] = 0, 0
	var src, dst []byte
	if t.v4 {
		src, dst = b[12:16], b[16:20]
	} else {
		src, dst = b[8:24], b[24:40]
	}
	pseudo := uint32(packet.TCP) + uint32(len(l4))
	for _, a := range [2][]byte{src, dst} {
		for i := 0; i < len(a); i += 2 {
			pseudo += uint32(binary.BigEndian.Uint16(a[i:]))
		}
	}
	binary.BigEndian.PutUint16(l4[16:], ^packet.Checksum(l4, pseudo))
	t.seq += uint32(len(l4) - (len(t.header) - t.ip))
	c.f.SetLen(c.n)
	if c.port.link.Send(c.f, link.Data) {
		c.sent++
	}
	c.f = nil
}

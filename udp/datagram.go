package udp

import (
	"net/netip"
	"sync"
)

// sizes are the buffers that datagrams are kept in: small ones (DNS, voice,
// acknowledgements), one that holds any packet of an Ethernet MTU, one for
// jumbo frames and one for anything.
var sizes = [...]int{512, 2 << 10, 16 << 10, 64 << 10}

// datagram is one received datagram, in pooled memory.
type datagram struct {
	next     *datagram // in the queue that holds it
	src, dst netip.AddrPort
	n        int // bytes of buf that are payload
	hops     uint8
	class    int // index into sizes
	buf      []byte
}

var pools [len(sizes)]sync.Pool

// newDatagram returns a datagram with a copy of payload, of at most 65535 bytes.
func newDatagram(src, dst netip.AddrPort, payload []byte) *datagram {
	class := classOf(len(payload))
	d, _ := pools[class].Get().(*datagram)
	if d == nil {
		d = &datagram{class: class, buf: make([]byte, sizes[class])}
	}
	d.src, d.dst, d.n = src, dst, copy(d.buf, payload)
	return d
}

// classOf returns the index of the smallest size that holds n bytes.
func classOf(n int) int {
	class := 0
	for class < len(sizes)-1 && sizes[class] < n {
		class++
	}
	return class
}

// cost is what the datagram counts for in every limit: the memory it pins.
func (d *datagram) cost() int { return sizes[d.class] }

func (d *datagram) payload() []byte { return d.buf[:d.n] }

// free gives the datagram back. Nothing of it may be used afterwards.
func (d *datagram) free() {
	d.next, d.src, d.dst = nil, netip.AddrPort{}, netip.AddrPort{}
	pools[d.class].Put(d)
}

// packetBuffers holds buffers in which outgoing packets are built.
var packetBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 2<<10)
	return &b
}}

// maxPooledPacket keeps the rare 64 KiB packet from pinning memory.
const maxPooledPacket = 16 << 10

func getPacketBuffer() *[]byte { return packetBuffers.Get().(*[]byte) }

func putPacketBuffer(b *[]byte) {
	if cap(*b) <= maxPooledPacket {
		*b = (*b)[:0]
		packetBuffers.Put(b)
	}
}

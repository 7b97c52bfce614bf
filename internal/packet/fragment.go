package packet

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/l3conn/checksum"
)

// The errors of [Fragment]. errors.Is finds EMSGSIZE in the first two and EINVAL in
// the third.
var (
	// ErrDontFragment: the packet is larger than the MTU and must not be fragmented.
	ErrDontFragment = fmt.Errorf("packet: larger than the MTU with don't-fragment set: %w", syscall.EMSGSIZE)
	// ErrMTU: the MTU leaves no room for 8 bytes of data, or does not hold the
	// headers that the first fragment must hold.
	ErrMTU = fmt.Errorf("packet: MTU too small to fragment for: %w", syscall.EMSGSIZE)
	// ErrUnreadable: not an IP packet whose headers can be read.
	ErrUnreadable = fmt.Errorf("packet: not an IP packet: %w", syscall.EINVAL)
)

// Fragment cuts the IP packet pkt into fragments of at most mtu bytes and calls emit
// for each in order; a packet that fits is emitted as it is. emit may keep nothing:
// the slice is valid during the call. id identifies the fragments of one packet; it
// should not repeat between two hosts within minutes (RFC 6864, RFC 7739), and IPv4
// takes its low 16 bits. pkt is not changed. On an error nothing was emitted.
//
// An IPv4 packet with DF is [ErrDontFragment]. A fragment is cut further (IPv4,
// keeping its identification) or [ErrUnreadable] (IPv6, where only the sender
// fragments).
func Fragment(pkt []byte, mtu int, id uint32, emit func(frag []byte)) error {
	if len(pkt) < v4HeaderLen {
		return ErrUnreadable
	}
	switch pkt[0] >> 4 {
	case 4:
		return fragment4(pkt, mtu, id, emit)
	case 6:
		return fragment6(pkt, mtu, id, emit)
	}
	return ErrUnreadable
}

func fragment4(pkt []byte, mtu int, id uint32, emit func(frag []byte)) error {
	header := int(pkt[0]&15) * 4
	total := int(binary.BigEndian.Uint16(pkt[2:]))
	if header < v4HeaderLen || total < header || total > len(pkt) {
		return ErrUnreadable
	}
	pkt = pkt[:total]
	if total <= mtu {
		emit(pkt)
		return nil
	}
	field := binary.BigEndian.Uint16(pkt[6:])
	if field&0x4000 != 0 {
		return ErrDontFragment
	}
	if field&0x3fff != 0 { // a fragment already
		id = uint32(binary.BigEndian.Uint16(pkt[4:]))
	}
	first := int(field&0x1fff) * 8
	if first+total > maxPacket {
		return ErrUnreadable
	}
	room := (mtu - header) &^ 7
	if room < 8 || first == 0 && room < transportLen(pkt[9], pkt[header:]) {
		return ErrMTU
	}
	buf := takeFragBuf()
	defer buf.give()
	copy(buf[:], pkt[:header])
	binary.BigEndian.PutUint16(buf[4:], uint16(id))
	data := pkt[header:]
	for off := 0; off < len(data); off += room {
		n := min(room, len(data)-off)
		part := field + uint16(off/8)
		if off+n < len(data) {
			part |= 0x2000
		}
		if off == room {
			dropUncopied(buf[v4HeaderLen:header])
		}
		b := buf[:header+n]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], part)
		binary.BigEndian.PutUint16(b[10:], 0)
		binary.BigEndian.PutUint16(b[10:], ^checksum.Sum(b[:header]))
		copy(b[header:], data[off:])
		emit(b)
	}
	return nil
}

// dropUncopied overwrites with no-operations the options that only the first
// fragment carries (RFC 791 3.1: the copied flag).
func dropUncopied(opts []byte) {
	for len(opts) > 0 {
		n := 1
		switch {
		case opts[0] == 0:
			return
		case opts[0] == 1:
		case len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts):
			n = len(opts) // malformed: no option behind this point
			for i := range opts {
				opts[i] = 1
			}
		default:
			n = int(opts[1])
			if opts[0]&0x80 == 0 {
				for i := range opts[:n] {
					opts[i] = 1
				}
			}
		}
		opts = opts[n:]
	}
}

func fragment6(pkt []byte, mtu int, id uint32, emit func(frag []byte)) error {
	if len(pkt) < v6HeaderLen {
		return ErrUnreadable
	}
	total := v6HeaderLen + int(binary.BigEndian.Uint16(pkt[4:]))
	if total > len(pkt) {
		return ErrUnreadable
	}
	pkt = pkt[:total]
	if total <= mtu {
		emit(pkt)
		return nil
	}
	var c chain
	if c.walk(pkt) != drop.None || c.fragHeader {
		return ErrUnreadable
	}
	header := c.splitAt + fragmentHeaderLen
	room := (mtu - header) &^ 7
	if room < 8 || room < c.off-c.splitAt+transportLen(c.proto, pkt[c.off:]) {
		return ErrMTU
	}
	buf := takeFragBuf()
	defer buf.give()
	copy(buf[:], pkt[:c.splitAt])
	ext := buf[c.splitAt:header]
	ext[0], ext[1] = buf[c.splitNext], 0
	buf[c.splitNext] = fragmentExt
	binary.BigEndian.PutUint32(ext[4:], id)
	data := pkt[c.splitAt:]
	for off := 0; off < len(data); off += room {
		n := min(room, len(data)-off)
		part := uint16(off)
		if off+n < len(data) {
			part |= 1
		}
		b := buf[:header+n]
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-v6HeaderLen))
		binary.BigEndian.PutUint16(ext[2:], part)
		copy(b[header:], data[off:])
		emit(b)
	}
	return nil
}

// transportLen is how much of b a first fragment must hold, else the receiver takes
// it for an attack ([drop.TinyFragment]).
func transportLen(proto uint8, b []byte) int {
	switch proto {
	case TCP:
		if len(b) > 12 {
			return min(max(int(b[12]>>4)*4, tcpHeaderLen), len(b))
		}
	case UDP, ICMPv4, ICMPv6:
		return min(udpHeaderLen, len(b))
	}
	return 0
}

// A fragBuf holds the fragment being emitted: up to the largest IP packet with its
// IPv6 header.
type fragBuf [v6HeaderLen + maxPacket]byte

var fragBufs = sync.Pool{New: func() any { return new(fragBuf) }}

func takeFragBuf() *fragBuf { return fragBufs.Get().(*fragBuf) }

func (b *fragBuf) give() { fragBufs.Put(b) }

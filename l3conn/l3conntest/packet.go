package l3conntest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// experimental is a protocol number that no host answers (RFC 3692).
const experimental = 253

// smallest is the length of a bare IP header of the link's family.
func (l *link) smallest() int {
	if l.src.Is4() {
		return 20
	}
	return 40
}

// packet returns a valid IP packet of size bytes which carries seq (16 bits) in
// its header and bytes that depend on seq behind it.
func (l *link) packet(seq, size int) []byte {
	p := make([]byte, size)
	if l.src.Is4() {
		p[0], p[8], p[9] = 0x45, 64, experimental
		binary.BigEndian.PutUint16(p[2:], uint16(size))
		binary.BigEndian.PutUint16(p[4:], uint16(seq))
		copy(p[12:], l.src.AsSlice())
		copy(p[16:], l.dst.AsSlice())
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
		for sum>>16 != 0 {
			sum = sum&0xffff + sum>>16
		}
		binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	} else {
		p[0], p[6], p[7] = 0x60, experimental, 64
		binary.BigEndian.PutUint16(p[2:], uint16(seq)) // low bits of the flow label
		binary.BigEndian.PutUint16(p[4:], uint16(size-40))
		copy(p[8:], l.src.AsSlice())
		copy(p[24:], l.dst.AsSlice())
	}
	for i := l.smallest(); i < size; i++ {
		p[i] = byte(seq*31 + i*7 + i>>8)
	}
	return p
}

// seq returns the number that packet p carries.
func (l *link) seq(p []byte) int {
	if l.src.Is4() {
		return int(binary.BigEndian.Uint16(p[4:]))
	}
	return int(binary.BigEndian.Uint16(p[2:]))
}

// mine tells the suite's packets from those that the link has of its own.
func (l *link) mine(p []byte) bool {
	if len(p) < l.smallest() {
		return false
	}
	at, n := 12, 4
	if !l.src.Is4() {
		at, n = 8, 16
	}
	src, _ := netip.AddrFromSlice(p[at : at+n])
	dst, _ := netip.AddrFromSlice(p[at+n : at+2*n])
	proto := p[9]
	if n == 16 {
		proto = p[6]
	}
	return src == l.src && dst == l.dst && proto == experimental
}

// same compares packets without what a router changes: TTL and, in IPv4, the
// header checksum.
func (l *link) same(got, want []byte) bool {
	if len(got) != len(want) {
		return false
	}
	got, want = bytes.Clone(got), bytes.Clone(want)
	for _, p := range [][]byte{got, want} {
		if l.src.Is4() {
			p[8], p[10], p[11] = 0, 0, 0
		} else {
			p[7] = 0
		}
	}
	return bytes.Equal(got, want)
}

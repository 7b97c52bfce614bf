package group

import (
	"encoding/binary"
	"net/netip"
	"time"

	"l3extract/internal/packet"
)

// IGMP is its number among IP's protocols.
const IGMP = 2

// Types of IGMP messages.
const (
	igmpQuery   = 0x11
	igmpReport1 = 0x12
	igmpReport2 = 0x16
	igmpLeave   = 0x17
	igmpReport3 = 0x22
)

var (
	allRouters4  = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	allReports4  = netip.AddrFrom4([4]byte{224, 0, 0, 22})
	routerAlert4 = []byte{0x94, 4, 0, 0} // RFC 2113
)

// igmp is IPv4's protocol; own is the source of its packets.
type igmp struct{ own netip.Addr }

func (i igmp) appendReport(b []byte, groups []netip.Addr, kind uint8) []byte {
	m := []byte{igmpReport3, 0, 0, 0, 0, 0, 0, byte(len(groups))}
	for _, g := range groups {
		m = append(append(m, kind, 0, 0, 0), g.AsSlice()...)
	}
	return i.appendPacket(b, allReports4, m)
}

func (i igmp) appendOld(b []byte, g netip.Addr, version int, leave bool) []byte {
	kind, to := byte(igmpReport2), g
	switch {
	case leave && version == 1:
		return b
	case leave:
		kind, to = igmpLeave, allRouters4
	case version == 1:
		kind = igmpReport1
	}
	return i.appendPacket(b, to, append([]byte{kind, 0, 0, 0}, g.AsSlice()...))
}

// appendPacket puts a header with a router alert before m, whose checksum it sets.
func (i igmp) appendPacket(b []byte, to netip.Addr, m []byte) []byte {
	const header, internetControl = 24, 0xc0
	binary.BigEndian.PutUint16(m[2:], ^packet.Checksum(m, 0))
	at := len(b)
	b = append(b, 0x40|header/4, internetControl, 0, 0, 0, 0, 0, 0, 1, IGMP, 0, 0)
	src := [4]byte{}
	if i.own.Is4() {
		src = i.own.As4()
	}
	b = append(append(append(b, src[:]...), to.AsSlice()...), routerAlert4...)
	binary.BigEndian.PutUint16(b[at+2:], uint16(header+len(m)))
	binary.BigEndian.PutUint16(b[at+10:], ^packet.Checksum(b[at:], 0))
	return append(b, m...)
}

func (igmp) query(p *packet.Packet) (query, bool) {
	m := p.L4
	if p.Proto != IGMP || len(m) < 8 || m[0] != igmpQuery || packet.Checksum(m, 0) != 0xffff {
		return query{}, false
	}
	const tenth = 100 * time.Millisecond
	within := time.Duration(m[1])
	switch {
	case len(m) >= 12:
		return query{within: time.Duration(code(uint32(m[1]), 4)) * tenth}, true
	case within == 0:
		return query{version: 1, within: 10 * time.Second}, true
	}
	return query{version: 2, within: within * tenth}, true
}

// code reads a time that is a number below the code's highest bit, and above it a
// mantissa of so many bits with an exponent of three before it (RFC 9776, 4.1.1).
func code(v uint32, mantissa int) uint32 {
	if v < 1<<(mantissa+3) {
		return v
	}
	return (v&(1<<mantissa-1) | 1<<mantissa) << (v>>mantissa&7 + 3)
}

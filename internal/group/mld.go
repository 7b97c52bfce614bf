package group

import (
	"encoding/binary"
	"net/netip"
	"time"

	"l3extract/internal/packet"
)

// Types of MLD messages, which are ICMPv6's.
const (
	mldQuery   = 130
	mldReport1 = 131
	mldDone    = 132
	mldReport2 = 143
)

var (
	allRouters6 = netip.MustParseAddr("ff02::2")
	allReports6 = netip.MustParseAddr("ff02::16")
	// hopByHop is the extension header with a router alert (RFC 2711).
	hopByHop = []byte{packet.ICMPv6, 0, 5, 2, 0, 0, 1, 0}
)

// mld is IPv6's protocol; own is the source of its packets.
type mld struct{ own netip.Addr }

// linkLocal returns the link-local address of the host that has own.
func linkLocal(own netip.Addr) netip.Addr {
	if own.IsLinkLocalUnicast() {
		return own
	}
	a := [16]byte{0: 0xfe, 1: 0x80}
	if own.IsValid() {
		o := own.As16()
		copy(a[8:], o[8:])
	}
	return netip.AddrFrom16(a)
}

func (l mld) appendReport(b []byte, groups []netip.Addr, kind uint8) []byte {
	m := []byte{mldReport2, 0, 0, 0, 0, 0, 0, byte(len(groups))}
	for _, g := range groups {
		m = append(append(m, kind, 0, 0, 0), g.AsSlice()...)
	}
	return l.appendPacket(b, allReports6, m)
}

func (l mld) appendOld(b []byte, g netip.Addr, _ int, leave bool) []byte {
	kind, to := byte(mldReport1), g
	if leave {
		kind, to = mldDone, allRouters6
	}
	return l.appendPacket(b, to, append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, g.AsSlice()...))
}

// appendPacket puts headers with a router alert before m, whose checksum it sets.
func (l mld) appendPacket(b []byte, to netip.Addr, m []byte) []byte {
	pseudo := append(append(make([]byte, 0, 40), l.own.AsSlice()...), to.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(m)))
	pseudo = append(pseudo, 0, 0, 0, packet.ICMPv6)
	binary.BigEndian.PutUint16(m[2:], ^packet.Checksum(m, uint32(packet.Checksum(pseudo, 0))))
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(hopByHop)+len(m)))
	b = append(append(append(b, 0, 1), l.own.AsSlice()...), to.AsSlice()...) // hop-by-hop comes next; hop limit 1
	return append(append(b, hopByHop...), m...)
}

func (mld) query(p *packet.Packet) (query, bool) {
	if p.Proto != packet.ICMPv6 || p.ICMPType != mldQuery || len(p.L4) < 24 || !p.Src.IsLinkLocalUnicast() {
		return query{}, false
	}
	ms := uint32(binary.BigEndian.Uint16(p.L4[4:]))
	if len(p.L4) < 28 {
		return query{version: 1, within: time.Duration(ms) * time.Millisecond}, true
	}
	return query{within: time.Duration(code(ms, 12)) * time.Millisecond}, true
}

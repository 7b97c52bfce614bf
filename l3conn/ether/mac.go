package ether

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address. Zero is none.
type MAC [6]byte

// DefaultMAC is the gateway's: locally administered, so nobody's. It may be on any
// number of segments.
var DefaultMAC = MAC{0x02, 0x6c, 0x33, 0x65, 0x00, 0x01}

var broadcastMAC = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads the forms that net.ParseMAC does, of six bytes.
func ParseMAC(s string) (MAC, error) {
	a, err := net.ParseMAC(s)
	if err == nil && len(a) != len(MAC{}) {
		err = fmt.Errorf("address %s: %d bytes, want %d", s, len(a), len(MAC{}))
	}
	if err != nil {
		return MAC{}, err
	}
	return MAC(a), nil
}

// String is the usual form with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// group reports whether m is a multicast address or broadcast.
func (m MAC) group() bool { return m[0]&1 != 0 }

// one reports whether m can be the address of somebody.
func (m MAC) one() bool { return !m.group() && m != MAC{} }

// groupMAC is where packets to a multicast address go (RFC 1112, RFC 2464).
func groupMAC(a netip.Addr) MAC {
	if a.Is4() {
		b := a.As4()
		return MAC{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	b := a.As16()
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// linkLocal is the address that RFC 4291, appendix A, makes of m.
func (m MAC) linkLocal() netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// Ethertypes.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
	// minType is the first that is no length of IEEE 802.3.
	minType = 0x0600
)

// headerLen is the bytes in front of a packet.
const headerLen = 14

// vlan reports whether a tag follows instead of a payload (802.1Q, 802.1ad, and the one
// before that).
func vlan(kind uint16) bool { return kind == 0x8100 || kind == 0x88a8 || kind == 0x9100 }

// appendHeader appends what stands in front of a payload.
func appendHeader(b []byte, to, from MAC, kind uint16) []byte {
	b = append(append(b, to[:]...), from[:]...)
	return binary.BigEndian.AppendUint16(b, kind)
}

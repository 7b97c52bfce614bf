package door

import (
	"net/netip"
	"slices"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// A Config says what a [Door] lets in.
type Config struct {
	// Sources are the prefixes that packets may come from, as WireGuard's AllowedIPs
	// are. Default: all. A list that is not nil but empty is all, too.
	Sources []netip.Prefix
	// Own are the stack's own addresses, each with the length of its subnet. Packets
	// from one of them are martians, and so is the IPv4 broadcast address of its
	// subnet as a source. Default: none.
	Own []netip.Prefix
	// VerifyChecksums has every checksum verified. Leave it out for a conn that
	// vouches for its packets. Default: they are not verified.
	VerifyChecksums bool
	// IGMP lets that protocol's packets to multicast groups in, as of an unknown
	// protocol. Default: they are dropped like any to many but datagrams.
	IGMP bool
}

// A Door is the check at the way in. It is fixed once made: any number of
// goroutines may use it at once, each with its own Packet.
type Door struct {
	sources    ranges
	own        []netip.Addr // a handful: shorter to walk than to hash
	broadcasts []netip.Addr // of own subnets
	all        bool         // every source
	verify     bool
	igmp       bool
}

// New returns the door that cfg describes. Prefixes that are not valid are ignored;
// an IPv4-mapped one counts as the IPv4 prefix it stands for.
func New(cfg Config) *Door {
	d := &Door{
		sources: newRanges(cfg.Sources),
		all:     len(cfg.Sources) == 0,
		verify:  cfg.VerifyChecksums,
		igmp:    cfg.IGMP,
	}
	for _, p := range cfg.Own {
		p, ok := unmap(p)
		if !ok {
			continue
		}
		d.own = append(d.own, p.Addr())
		if p.Addr().Is4() && p.Bits() < 31 { // RFC 3021: a /31 has none
			d.broadcasts = append(d.broadcasts, last(p))
		}
	}
	return d
}

// Check decodes b into p and returns [drop.None] when the packet may come in, else
// why it is to be dropped. The caller counts. After [drop.UnknownProtocol] the
// packet has passed every check but that of its transport, so that it may be
// answered; checksums were verified if configured, as far as they are known.
func (d *Door) Check(p *packet.Packet, b []byte) drop.Cause { return d.check(p, b, d.verify) }

// CheckVerified is Check for a packet whose checksums somebody else vouches for.
func (d *Door) CheckVerified(p *packet.Packet, b []byte) drop.Cause { return d.check(p, b, false) }

func (d *Door) check(p *packet.Packet, b []byte, verify bool) drop.Cause {
	cause := p.Decode(b)
	if cause != drop.None && cause != drop.UnknownProtocol {
		return cause
	}
	if martianSource(p.Src) || slices.Contains(d.own, p.Src) || slices.Contains(d.broadcasts, p.Src) {
		return drop.MartianSource
	}
	if martianDestination(p.Dst) {
		return drop.MartianDestination
	}
	if !d.all && !d.sources.contains(p.Src) {
		return drop.ForeignSource
	}
	// Only datagrams have a meaning for many: a connection has two ends.
	igmp := d.igmp && p.Proto == protoIGMP && p.Version == 4
	if p.Proto != packet.UDP && p.Proto != packet.ICMPv4 && p.Proto != packet.ICMPv6 && !igmp && d.ToMany(p.Dst) {
		return drop.Multicast
	}
	if verify && !p.ChecksumOK() {
		if p.Version == 4 && packet.Checksum(p.Raw[:p.HeaderLen], 0) != 0xffff {
			return drop.V4Checksum
		}
		return drop.L4Checksum
	}
	return cause
}

// ToMany reports whether a is a multicast or broadcast address: what is sent there is
// answered with no error, and no echo (RFC 1122 3.2.2).
func (d *Door) ToMany(a netip.Addr) bool {
	return a.IsMulticast() || a == broadcast4 || slices.Contains(d.broadcasts, a)
}

// protoIGMP is RFC 2236's among IP's protocols.
const protoIGMP = 2

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// martianSource reports whether a can not be the source of a packet on a link:
// unspecified and 0/8, loopback, multicast, class E with the broadcast address
// (RFC 1122 3.2.1.3, RFC 6890), IPv4-mapped on the wire (RFC 4291, RFC 6890).
func martianSource(a netip.Addr) bool {
	if a.Is4() {
		switch first := a.As4()[0]; {
		case first == 0, first == 127, first >= 224:
			return true
		}
		return false
	}
	return a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6()
}

// martianDestination reports whether a can not be the destination of a packet on a
// link: unspecified and 0/8, loopback, IPv4-mapped, multicast that stays inside its
// own node (RFC 4291 2.7).
func martianDestination(a netip.Addr) bool {
	if a.Is4() {
		first := a.As4()[0]
		return first == 0 || first == 127
	}
	return a.IsUnspecified() || a.IsLoopback() || a.Is4In6() || a.IsInterfaceLocalMulticast()
}

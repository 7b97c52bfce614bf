package ether

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats are the counters of a Conn since New. But for the first three, frames of guests
// that were counted went no further.
type Stats struct {
	// FramesIn and FramesOut count frames, BytesIn and BytesOut their bytes.
	FramesIn, BytesIn, FramesOut, BytesOut uint64
	// PacketsIn count IP packets that were handed on.
	PacketsIn uint64
	// ARP, NDP and DHCP count what was for the gateway's ears, and right.
	ARP, NDP, DHCP uint64

	// Malformed lied about their length, their version or their sender, or their
	// checksum was wrong. TooLong were longer than the MTU, or than any buffer.
	Malformed, TooLong uint64
	// OtherMAC were to nobody here, OwnMAC from the gateway's own MAC: a loop, or forged.
	OtherMAC, OwnMAC uint64
	// VLAN had a tag, LLC a length in place of an ethertype (spanning tree, for one).
	VLAN, LLC uint64
	// Unknown counts other ethertypes; those beyond the first 16 are counted as 0.
	Unknown map[uint16]uint64

	// Foreign came from an address outside of the networks of Config.Addrs.
	Foreign uint64
	// Spoofed came from an address that is another guest's, or said so.
	Spoofed uint64
	// GatewayClaims came from an address of the gateway, or said so.
	GatewayClaims uint64
	// Crowded came from a new address while the table of neighbours was full of live ones.
	Crowded uint64
	// Rogue are router advertisements and redirects.
	Rogue uint64

	// Offers, Acks and Naks count DHCP's answers, Exhausted the questions for which
	// there was no address.
	Offers, Acks, Naks, Exhausted uint64
	// Advertisements counts those of routers.
	Advertisements uint64
	// AnswersLost are those of the gateway that the carrier was too slow for, or did
	// not take.
	AnswersLost uint64
	// Asked counts questions where an address is, NoNeighbour packets lost because
	// nobody said.
	Asked, NoNeighbour uint64
	// NoPacket were written and no IP packets.
	NoPacket uint64
}

// maxKinds bounds the ethertypes that are counted.
const maxKinds = 16

type counters struct {
	framesIn, bytesIn, packetsIn, arp, ndp, dhcp               atomic.Uint64
	malformed, tooLong, otherMAC, ownMAC, vlan, llc            atomic.Uint64
	foreign, spoofed, claims, crowded, rogue                   atomic.Uint64
	offers, acks, naks, exhausted                              atomic.Uint64
	_                                                          [64]byte // who reads and who writes share no cache line
	framesOut, bytesOut, answersLost, asked, noNeigh, noPacket atomic.Uint64
	advertisements                                             atomic.Uint64

	mu      sync.Mutex
	unknown map[uint16]uint64
}

// kind counts an ethertype.
func (n *counters) kind(kind uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unknown == nil {
		n.unknown = make(map[uint16]uint64)
	}
	if _, known := n.unknown[kind]; !known && len(n.unknown) >= maxKinds {
		kind = 0
	}
	n.unknown[kind]++
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	n := &c.counters
	n.mu.Lock()
	unknown := maps.Clone(n.unknown)
	n.mu.Unlock()
	return Stats{
		FramesIn: n.framesIn.Load(), BytesIn: n.bytesIn.Load(), FramesOut: n.framesOut.Load(), BytesOut: n.bytesOut.Load(),
		PacketsIn: n.packetsIn.Load(), ARP: n.arp.Load(), NDP: n.ndp.Load(), DHCP: n.dhcp.Load(),
		Malformed: n.malformed.Load(), TooLong: n.tooLong.Load(), OtherMAC: n.otherMAC.Load(), OwnMAC: n.ownMAC.Load(),
		VLAN: n.vlan.Load(), LLC: n.llc.Load(), Unknown: unknown,
		Foreign: n.foreign.Load(), Spoofed: n.spoofed.Load(), GatewayClaims: n.claims.Load(),
		Crowded: n.crowded.Load(), Rogue: n.rogue.Load(),
		Offers: n.offers.Load(), Acks: n.acks.Load(), Naks: n.naks.Load(), Exhausted: n.exhausted.Load(),
		Advertisements: n.advertisements.Load(), AnswersLost: n.answersLost.Load(),
		Asked: n.asked.Load(), NoNeighbour: n.noNeigh.Load(), NoPacket: n.noPacket.Load(),
	}
}

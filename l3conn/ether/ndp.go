package ether

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"

	"l3extract/l3conn/checksum"
)

// ICMPv6 messages of RFC 4861.
const (
	routerSolicitation = 133
	redirect           = 137
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	unspecified = netip.IPv6Unspecified()
)

// ndp hears and answers a message of neighbour discovery, packet p.
func (c *Conn) ndp(from MAC, p []byte, now time.Duration) {
	src, dst := netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
	body := p[header6:]
	if p[7] != ndp.HopLimit || checksum.Fold(pseudo(src, dst, protoICMPv6, len(body))+uint64(checksum.Sum(body))) != 0xffff {
		c.counters.malformed.Add(1)
		return
	}
	m, err := ndp.ParseMessage(body)
	if err != nil && body[0] != redirect {
		c.counters.malformed.Add(1)
		return
	}
	if !src.IsUnspecified() && !c.admit(src, from, now) {
		return
	}
	switch m := m.(type) {
	case *ndp.NeighborSolicitation:
		c.solicited(from, src, m.TargetAddress)
	case *ndp.NeighborAdvertisement:
		if !c.admit(m.TargetAddress, from, now) {
			return
		}
	case *ndp.RouterSolicitation:
		if c.cfg.RA.Off {
			break
		}
		if src.IsUnspecified() {
			src = allNodes // to that guest alone (RFC 6085)
		}
		c.advertise(from, src)
	default:
		c.counters.rogue.Add(1)
		return
	}
	c.counters.ndp.Add(1)
}

// solicited answers the question where an address is.
func (c *Conn) solicited(from MAC, src, target netip.Addr) {
	mine := c.ours(target)
	switch {
	case mine && src.IsUnspecified(): // somebody wants it for himself
		c.counters.claims.Add(1)
		c.announce(target)
	case mine:
		c.answer(c.advertisement(from, target, src, true, true))
	case c.cfg.Proxy && !src.IsUnspecified() && src != target && !c.onLink(target) && !target.IsMulticast() && !c.known(target):
		c.answer(c.advertisement(from, target, src, true, false))
	}
}

// advertisement is a frame that says that target is at the gateway.
func (c *Conn) advertisement(to MAC, target, dst netip.Addr, solicited, override bool) []byte {
	return c.icmp6(to, target, dst, &ndp.NeighborAdvertisement{
		Router: true, Solicited: solicited, Override: override, TargetAddress: target,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(c.cfg.MAC[:])}},
	})
}

// solicit asks where an address is.
func (c *Conn) solicit(target netip.Addr) {
	group, err := ndp.SolicitedNodeMulticast(target)
	if err != nil || !c.local6.IsValid() {
		return
	}
	c.answer(c.icmp6(groupMAC(group), c.local6, group, &ndp.NeighborSolicitation{
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr(c.cfg.MAC[:])}},
	}))
}

// advertise says that the gateway is a router, and what its networks are.
func (c *Conn) advertise(to MAC, dst netip.Addr) {
	c.counters.advertisements.Add(1)
	c.answer(c.icmp6(to, c.local6, dst, c.ra))
}

func (c *Conn) routerAdvertisement() *ndp.RouterAdvertisement {
	life := c.cfg.RA.Lifetime
	ra := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, RouterLifetime: life,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr(c.cfg.MAC[:])},
			ndp.NewMTU(uint32(c.cfg.MTU)),
		},
	}
	for _, p := range c.cfg.Addrs {
		if p.Addr().Is6() {
			ra.Options = append(ra.Options, &ndp.PrefixInformation{
				PrefixLength: uint8(p.Bits()), OnLink: true, AutonomousAddressConfiguration: true,
				ValidLifetime: 2 * life, PreferredLifetime: life, Prefix: p.Masked().Addr(),
			})
		}
	}
	if dns := c.resolvers(false); len(dns) > 0 {
		ra.Options = append(ra.Options, &ndp.RecursiveDNSServer{Lifetime: life, Servers: dns})
	}
	if c.cfg.Domain != "" {
		ra.Options = append(ra.Options, &ndp.DNSSearchList{Lifetime: life, DomainNames: []string{c.cfg.Domain}})
	}
	return ra
}

// resolvers are those of one family that guests are told of.
func (c *Conn) resolvers(v4 bool) (all []netip.Addr) {
	from := c.cfg.DNS
	if len(from) == 0 {
		for _, p := range c.cfg.Addrs {
			from = append(from, p.Addr())
		}
	}
	for _, a := range from {
		if a.Is4() == v4 {
			all = append(all, a)
		}
	}
	return all
}

// icmp6 is a frame with a message from src, an address of the gateway.
func (c *Conn) icmp6(to MAC, src, dst netip.Addr, m ndp.Message) []byte {
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		panic("ether: " + err.Error()) // New has checked what is in it
	}
	f := appendHeader(make([]byte, 0, headerLen+header6+len(body)), to, c.cfg.MAC, typeIPv6)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
	f = append(f, protoICMPv6, ndp.HopLimit)
	s, d := src.As16(), dst.As16()
	f = append(append(f, s[:]...), d[:]...)
	return append(f, body...)
}

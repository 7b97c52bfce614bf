package ether

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"l3extract/l3conn/checksum"
)

const (
	dhcpServer = 67
	dhcpClient = 68
	// minDHCP is what every client can take, without the headers of UDP and IP
	// (RFC 2131, 2).
	minDHCP = 576 - header4 - 8
)

// forDHCP reports whether IPv4 packet p is for the DHCP server.
func (c *Conn) forDHCP(p []byte, src, dst netip.Addr) bool {
	ihl := int(p[0]&15) * 4
	if p[9] != protoUDP || binary.BigEndian.Uint16(p[6:])&0x3fff != 0 || ihl < header4 || len(p) < ihl+8 ||
		binary.BigEndian.Uint16(p[ihl+2:]) != dhcpServer {
		return false
	}
	return c.toMany(dst) || c.ours(dst)
}

// dhcp hears and answers a message of DHCP (RFC 2131) in IPv4 packet p.
func (c *Conn) dhcp(from MAC, p []byte, now time.Duration) {
	ihl := int(p[0]&15) * 4
	u := p[ihl:]
	n := int(binary.BigEndian.Uint16(u[4:]))
	src, dst := netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	if n < 8 || n > len(u) || checksum.Sum(p[:ihl]) != 0xffff || binary.BigEndian.Uint16(u[6:]) != 0 &&
		checksum.Fold(pseudo(src, dst, protoUDP, n)+uint64(checksum.Sum(u[:n]))) != 0xffff {
		c.counters.malformed.Add(1)
		return
	}
	m, err := dhcpv4.FromBytes(u[8:n])
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest || m.HWType != iana.HWTypeEthernet || len(m.ClientHWAddr) != len(MAC{}) ||
		!addr4(m.GatewayIPAddr).IsUnspecified() { // there is no relay on this segment
		c.counters.malformed.Add(1)
		return
	}
	if MAC(m.ClientHWAddr) != from {
		c.counters.spoofed.Add(1)
		return
	}
	if !src.IsUnspecified() && !c.admit(src, from, now) {
		return
	}
	c.counters.dhcp.Add(1)
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		c.discovered(from, m, now)
	case dhcpv4.MessageTypeRequest:
		c.requested(from, m, now)
	case dhcpv4.MessageTypeDecline:
		c.leases.decline(from, addr4(m.RequestedIPAddress()), now)
	case dhcpv4.MessageTypeRelease:
		c.leases.release(from, addr4(m.ClientIPAddr), now)
	case dhcpv4.MessageTypeInform:
		c.counters.acks.Add(1)
		c.reply(from, m, dhcpv4.MessageTypeAck, netip.IPv4Unspecified())
	default: // BOOTP, and what is for clients
	}
}

func addr4(ip net.IP) netip.Addr {
	if b := ip.To4(); b != nil {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.IPv4Unspecified()
}

func (c *Conn) discovered(from MAC, m *dhcpv4.DHCPv4, now time.Duration) {
	a, ok := c.leases.find(from, addr4(m.RequestedIPAddress()), now)
	if !ok {
		c.counters.exhausted.Add(1)
		return
	}
	c.leases.hold(from, a, hostName(m), false, now, offerTime)
	c.counters.offers.Add(1)
	c.reply(from, m, dhcpv4.MessageTypeOffer, a)
}

// requested answers a REQUEST. Its three kinds (RFC 2131, 4.3.2) ask for one thing: this
// address, and nothing about it needs to be known here.
func (c *Conn) requested(from MAC, m *dhcpv4.DHCPv4, now time.Duration) {
	gate, _ := c.own4()
	if server := addr4(m.ServerIdentifier()); !server.IsUnspecified() && server != gate {
		return // it has chosen another's offer; ours is over soon
	}
	a := addr4(m.RequestedIPAddress())
	if a.IsUnspecified() {
		a = addr4(m.ClientIPAddr)
	}
	if !c.leases.may(from, a, now) {
		c.counters.naks.Add(1)
		c.reply(from, m, dhcpv4.MessageTypeNak, netip.IPv4Unspecified())
		return
	}
	host := hostName(m)
	fresh := c.leases.hold(from, a, host, true, now, c.cfg.DHCP.LeaseTime)
	if c.table.claim(a, from, true, now) == crowded {
		c.counters.crowded.Add(1)
	}
	c.counters.acks.Add(1)
	c.reply(from, m, dhcpv4.MessageTypeAck, a)
	if fresh && c.cfg.OnLease != nil {
		c.cfg.OnLease(Lease{Addr: a, MAC: from, Host: host, Left: c.cfg.DHCP.LeaseTime})
	}
}

// hostName is what a guest calls itself, as far as it can be written to a log.
func hostName(m *dhcpv4.DHCPv4) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, m.HostName()[:min(len(m.HostName()), 63)])
}

// reply answers m with a message of kind k about address a, 0.0.0.0 if there is none.
func (c *Conn) reply(from MAC, m *dhcpv4.DHCPv4, k dhcpv4.MessageType, a netip.Addr) {
	gate, _ := c.own4()
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(k), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gate.AsSlice())))
	if err != nil {
		c.counters.answersLost.Add(1)
		return
	}
	if id := m.GetOneOption(dhcpv4.OptionClientIdentifier); id != nil { // RFC 6842
		r.UpdateOption(dhcpv4.OptClientIdentifier(id))
	}
	if k != dhcpv4.MessageTypeNak {
		r.YourIPAddr = a.AsSlice()
		r.ClientIPAddr = m.ClientIPAddr
		c.parameters(r, gate)
		if !a.IsUnspecified() {
			t := c.cfg.DHCP.LeaseTime
			r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(t))
			r.UpdateOption(dhcpv4.OptRenewTimeValue(t / 2))
			r.UpdateOption(dhcpv4.OptRebindingTimeValue(t / 8 * 7))
		}
	}
	b := r.ToBytes()
	if len(b) > max(minDHCP, c.cfg.MTU-header4-8) {
		c.counters.answersLost.Add(1)
		return
	}
	to, dst := from, a
	switch known := addr4(m.ClientIPAddr); {
	case k == dhcpv4.MessageTypeNak:
		to, dst = broadcastMAC, netip.AddrFrom4([4]byte{255, 255, 255, 255})
	case !known.IsUnspecified():
		dst = known
	case m.IsBroadcast() || a.IsUnspecified():
		to, dst = broadcastMAC, netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	c.answer(c.udp4(to, netip.AddrPortFrom(gate, dhcpServer), netip.AddrPortFrom(dst, dhcpClient), b))
}

// parameters are what guests are told beside their address.
func (c *Conn) parameters(r *dhcpv4.DHCPv4, gate netip.Addr) {
	for _, p := range c.cfg.Addrs {
		if p.Addr() == gate {
			r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(p.Bits(), 32)))
			r.UpdateOption(dhcpv4.OptBroadcastAddress(lastAddr(p).AsSlice()))
		}
	}
	r.UpdateOption(dhcpv4.OptRouter(gate.AsSlice()))
	r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(c.cfg.MTU))))
	var dns []net.IP
	for _, a := range c.resolvers(true) {
		dns = append(dns, a.AsSlice())
	}
	if len(dns) > 0 {
		r.UpdateOption(dhcpv4.OptDNS(dns...))
	}
	if c.cfg.Domain != "" {
		r.UpdateOption(dhcpv4.OptDomainName(c.cfg.Domain))
	}
}

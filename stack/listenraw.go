package stack

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"l3extract/internal/packet"
)

// protocols are the names that ListenPacket knows behind "ip4:" and "ip6:", as in
// /etc/protocols; any other protocol is told by its number.
var protocols = map[string]uint8{
	"icmp": packet.ICMPv4, "igmp": 2, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": packet.ICMPv6, "ospf": 89, "sctp": 132,
}

// listenRaw is ListenPacket for a network such as "ip4:icmp" or "ip6:47".
func (s *Stack) listenRaw(network, address string) (net.PacketConn, error) {
	family, name, _ := strings.Cut(network, ":")
	proto, ok := protocols[name]
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		proto, ok = uint8(n), true
	}
	if !ok || family != "ip4" && family != "ip6" {
		return nil, net.UnknownNetworkError(network)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	a := netip.IPv4Unspecified()
	if family == "ip6" {
		a = netip.IPv6Unspecified()
	}
	if address != "" {
		var err error
		if a, err = netip.ParseAddr(address); err != nil {
			return nil, &net.AddrError{Err: "a raw conn needs an IP address", Addr: address}
		}
		if a = a.Unmap(); a.Is4() != (family == "ip4") {
			return nil, &net.AddrError{Err: "not an address of " + network, Addr: address}
		}
	}
	if err := s.mayListen(a); err != nil {
		return nil, err
	}
	c, err := s.raw.Listen(network, a, proto)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// mayListen says why no raw conn can be had on a: it needs an own address, that one or
// any of its family.
func (s *Stack) mayListen(a netip.Addr) error {
	if s.icmp.own[a] {
		return nil
	}
	if !a.IsUnspecified() {
		return errNotOwn(a)
	}
	_, err := s.source(a)
	return err
}

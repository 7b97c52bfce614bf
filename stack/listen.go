package stack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"l3extract/udp"
)

// Listen opens a listener inside the Stack for connections from behind the
// packet conn; it fits net.ListenConfig's place. Networks are "tcp", "tcp4" and
// "tcp6". The host of address is one of Config.Addrs, or empty or unspecified for
// all of them (every destination, if there are none); port 0 takes a free one. A
// Listen on a port wins over the acceptor. EADDRINUSE when it is taken, EADDRNOTAVAIL for an
// address that is not the Stack's. It may be called before Run.
func (s *Stack) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	at, err := s.bind(ctx, "tcp", network, address)
	if err != nil {
		return nil, opError("listen", network, hostport{network, address}, err)
	}
	l, err := s.tcp.table.Listen(at)
	if err != nil {
		return nil, opError("listen", network, hostport{network, address}, err)
	}
	return l, nil
}

// ListenPacket opens a UDP socket inside the Stack that receives from any host
// behind the packet conn; networks are "udp", "udp4" and "udp6", address and
// errors are as for Listen, but there must be Config.Addrs: datagrams of foreign
// addresses are UDP's.
//
// With a network such as "ip4:icmp", "ip6:ipv6-icmp" or "ip4:47" it opens a raw conn
// for that IP protocol, like net's *net.IPConn: addresses are *net.IPAddr, the address
// to listen on has no port, and what is read and written is what follows the IP header.
// Its queue holds 256 datagrams or 1 MiB; more are dropped and counted. One for ICMP
// receives all of it that comes to its address but pings, which the Stack answers, and
// need not make checksums. EPROTONOSUPPORT for TCP and UDP.
func (s *Stack) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	if strings.HasPrefix(network, "ip") {
		pc, err := s.listenRaw(network, address)
		if err != nil {
			return nil, opError("listen", network, hostport{network, address}, err)
		}
		return pc, nil
	}
	at, err := s.bind(ctx, "udp", network, address)
	if err != nil {
		return nil, opError("listen", network, hostport{network, address}, err)
	}
	var sock *udp.Socket
	if sock, err = s.udp.table.Listen(at); err != nil {
		return nil, opError("listen", network, hostport{network, address}, err)
	}
	return sock, nil
}

func errNotOwn(a netip.Addr) error {
	return fmt.Errorf("%v is not in stack.Config.Addrs: %w", a, syscall.EADDRNOTAVAIL)
}

// bind checks the address of a listener.
func (s *Stack) bind(ctx context.Context, want, network, address string) (netip.AddrPort, error) {
	kind, family, err := splitNetwork(network)
	if err != nil || kind != want {
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	if err := s.Err(); err != nil {
		return netip.AddrPort{}, err
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, kind, service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	// The zero Addr is all own addresses of both families.
	var a netip.Addr
	switch family {
	case "ip4":
		a = netip.IPv4Unspecified()
	case "ip6":
		a = netip.IPv6Unspecified()
	}
	if host != "" {
		if a, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, &net.AddrError{Err: "a listener needs an IP address", Addr: host}
		}
		a = a.Unmap()
		if family != "ip" && a.Is4() != (family == "ip4") {
			return netip.AddrPort{}, &net.AddrError{Err: "not an address of " + network, Addr: host}
		}
		if a.IsUnspecified() && family == "ip" {
			a = netip.Addr{} // as package net does: one family is "tcp4" or "tcp6"
		}
		if a.IsValid() && !a.IsUnspecified() && len(s.cfg.Addrs) > 0 && !s.icmp.own[a] {
			return netip.AddrPort{}, errNotOwn(a)
		}
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

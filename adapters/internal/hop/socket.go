package hop

import (
	"net"
	"net/netip"
	"syscall"

	"l3extract/adapters/outbound"
)

// Socket is a socket whose datagrams all go to one peer, a proxy.
type Socket struct {
	net.PacketConn
	Peer netip.AddrPort
	Addr net.Addr // Peer

	udp *net.UDPConn    // the PacketConn, if it is one: no allocation for addresses
	raw syscall.RawConn // of udp, or nil
}

// NewSocket returns pc as one whose peer is peer.
func NewSocket(pc net.PacketConn, peer netip.AddrPort) *Socket {
	s := &Socket{PacketConn: pc, Peer: peer, Addr: net.UDPAddrFromAddrPort(peer)}
	if u, ok := pc.(*net.UDPConn); ok {
		s.udp = u
		s.raw, _ = u.SyscallConn() // fails if it is closed, which reading will tell
	}
	return s
}

// Send sends b to the peer.
func (s *Socket) Send(b []byte) error {
	var err error
	if s.udp != nil {
		_, err = s.udp.WriteToUDPAddrPort(b, s.Peer)
	} else {
		_, err = s.PacketConn.WriteTo(b, s.Addr)
	}
	return err
}

// Receive reads the next datagram, and tells whether the peer has sent it.
func (s *Socket) Receive(b []byte) (n int, peers bool, err error) {
	var src netip.AddrPort
	if s.udp != nil {
		n, src, err = s.udp.ReadFromUDPAddrPort(b)
		src = Plain(src)
	} else {
		var a net.Addr
		n, a, err = s.PacketConn.ReadFrom(b)
		src = AddrPort(a)
	}
	return n, src == s.Peer, err
}

// Wait returns nil when a datagram can be read, or if that cannot be told.
func (s *Socket) Wait() error {
	if s.raw != nil {
		return Await(s.raw)
	}
	if w, ok := s.PacketConn.(outbound.PacketWaiter); ok { // of a proxy on the way
		return w.WaitRead()
	}
	return nil
}

// AddrPort returns the address and port in a, plain, or zero.
func AddrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return Plain(a.AddrPort())
	}
	return netip.AddrPort{}
}

// Plain returns a unmapped and without a zone.
func Plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

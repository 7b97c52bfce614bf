package forward

import (
	"net"
	"net/netip"
	"syscall"
)

// outlet is an upstream socket, for one sender and one receiver at once.
type outlet struct {
	conn net.PacketConn  // closed if up is there
	up   *upstream       // what took its place; nil on most systems
	ap   addrPortConn    // conn, if it is one
	raw  syscall.RawConn // of a socket whose readability can be waited for, else nil
	v6   bool            // what raw is
}

// addrPortConn is what a *net.UDPConn and its like offer beside net.PacketConn:
// no allocation for an address.
type addrPortConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

func newOutlet(pc net.PacketConn) *outlet {
	o := &outlet{conn: pc}
	o.ap, _ = pc.(addrPortConn)
	o.raw = rawConn(pc)
	o.prepare()
	return o
}

// send sends b to the address to, with so many hops; 0 is the system's default, and
// all there is where hops cannot be set.
func (o *outlet) send(b []byte, to netip.AddrPort, hops uint8) error {
	var err error
	switch {
	case o.up != nil:
		err = o.up.send(b, to, hops)
	case hops != 0 && o.raw != nil:
		err = o.sendHops(b, to, hops)
	case o.ap != nil:
		_, err = o.ap.WriteToUDPAddrPort(b, to)
	default:
		_, err = o.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return err
}

// close ends receive. It may be called once.
func (o *outlet) close() {
	if o.up != nil {
		o.up.close()
		return
	}
	_ = o.conn.Close() // nothing is in it that could be lost
}

// receive waits for a datagram. The payload lies in the buffer, which the caller
// puts back; it is nil after an error.
func (o *outlet) receive() (*buffer, []byte, netip.AddrPort, error) {
	if o.raw != nil {
		return o.receiveRaw()
	}
	b := buffers.Get().(*buffer)
	var n int
	var src netip.AddrPort
	var err error
	if o.ap != nil {
		n, src, err = o.ap.ReadFromUDPAddrPort(b[:])
	} else {
		var a net.Addr
		if n, a, err = o.conn.ReadFrom(b[:]); err == nil {
			src = addrPortOf(a)
		}
	}
	if err != nil {
		buffers.Put(b)
		return nil, nil, netip.AddrPort{}, err
	}
	return b, b[:n], plain(src), nil
}

// addrPortOf returns the address and port in a, or zero.
func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case nil:
		return netip.AddrPort{}
	case interface{ AddrPort() netip.AddrPort }:
		return a.AddrPort()
	default:
		ap, _ := netip.ParseAddrPort(a.String()) // zero is refused by the Policy
		return ap
	}
}

// plain returns ap unmapped and without a zone, as addresses of packets are.
func plain(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

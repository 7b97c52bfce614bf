package forward

import (
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"l3extract/adapters/outbound"
)

// outlet is an upstream socket, for one sender and one receiver at once.
type outlet struct {
	key   outletKey
	named []*way // at most one for each port, whose targets have names; under the socket's mu
	used  uint64 // the socket's turns when it was last used, but for what it is used for now

	carriers carriers // what it depends on, if it is not of this host itself

	port localPort   // of a kernel's socket; 0: not listed
	gone atomic.Bool // closed, while the Socket lives on
	dead atomic.Bool // no longer among the socket's living

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

// outletKey says for what an upstream socket is good.
type outletKey struct {
	by  PacketListener // which opened it; nil: the Server's
	six bool           // for targets of IPv6
}

// use makes pc what o sends by.
func (o *outlet) use(pc net.PacketConn) {
	o.conn = pc
	o.ap, _ = pc.(addrPortConn)
	o.raw = rawConn(pc)
	o.prepare()
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

// name notes that w goes by o, and forgets the oldest of too many. The caller holds the
// socket's mu.
func (o *outlet) name(w *way) {
	o.named = slices.DeleteFunc(o.named, func(v *way) bool { return v.dst == w.dst })
	if len(o.named) == maxNames {
		o.named = slices.Delete(o.named, 0, 1)
	}
	o.named = append(o.named, w)
}

// sendName sends b to a name.
func (o *outlet) sendName(b []byte, to net.Addr) error {
	if o.up != nil {
		return errNoNames // a socket of the kernel
	}
	_, err := o.conn.WriteTo(b, to)
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
func (o *outlet) receive() (*buffer, []byte, origin, error) {
	if o.raw != nil {
		b, payload, src, err := o.receiveRaw()
		return b, payload, origin{addr: src}, err
	}
	if w, ok := o.conn.(outbound.PacketWaiter); ok {
		if err := w.WaitRead(); err != nil {
			return nil, nil, origin{}, err
		}
	}
	b := buffers.Get().(*buffer)
	var n int
	var src origin
	var err error
	if o.ap != nil {
		n, src.addr, err = o.ap.ReadFromUDPAddrPort(b[:])
	} else {
		var a net.Addr
		if n, a, err = o.conn.ReadFrom(b[:]); err == nil {
			src = originOf(a)
		}
	}
	if err != nil {
		buffers.Put(b)
		return nil, nil, origin{}, err
	}
	src.addr = plain(src.addr)
	return b, b[:n], src, nil
}

// origin is where a datagram came from: an address, or what a proxy calls it.
type origin struct {
	addr netip.AddrPort
	name outbound.Name
}

func (o origin) port() uint16 {
	if o.name.Port != 0 {
		return o.name.Port
	}
	return o.addr.Port()
}

// originOf returns what a says, or zero, which is refused by the Policy.
func originOf(a net.Addr) origin {
	switch a := a.(type) {
	case nil:
		return origin{}
	case outbound.Name:
		return origin{name: a}
	case interface{ AddrPort() netip.AddrPort }:
		return origin{addr: a.AddrPort()}
	default:
		ap, _ := netip.ParseAddrPort(a.String())
		return origin{addr: ap}
	}
}

// plain returns ap unmapped and without a zone, as addresses of packets are.
func plain(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

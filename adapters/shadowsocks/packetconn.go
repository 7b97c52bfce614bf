package shadowsocks

import (
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/Jigsaw-Code/outline-sdk/transport/shadowsocks"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
)

// packetConn is a socket whose datagrams go to the server, each with a salt, an
// address and a tag.
type packetConn struct {
	*hop.Socket
	d   *Dialer
	key *shadowsocks.EncryptionKey
}

// maxDatagram is the largest UDP payload there is, over IPv6.
const maxDatagram = 65535 - 8

// buffers are for encrypted datagrams. They never leave this package.
var buffers = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

func newPacketConn(d *Dialer, pc net.PacketConn, key *shadowsocks.EncryptionKey, server netip.AddrPort) *packetConn {
	return &packetConn{Socket: hop.NewSocket(pc, server), d: d, key: key}
}

// WriteTo sends b to a destination by the server. A name is resolved there.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := socksaddr.Of(addr)
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Source: c.LocalAddr(), Addr: addr, Err: err}
	}
	buf := buffers.Get().(*[maxDatagram]byte)
	defer buffers.Put(buf)
	salt := c.key.SaltSize()
	plain := to.Append(buf[salt:salt])
	if salt+len(plain)+len(b)+c.key.TagSize() > len(buf) {
		return 0, c.opError("write", syscall.EMSGSIZE)
	}
	msg, err := shadowsocks.Pack(buf[:], append(plain, b...), c.key)
	if err == nil {
		err = c.Send(msg)
	}
	if err != nil {
		return 0, c.opError("write", err)
	}
	return len(b), nil
}

// ReadFrom returns the next datagram and who sent it. What does not fit into b is
// lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	// With room for all of it, as a forwarder has, nothing else is held while nothing
	// comes.
	in := b
	if len(b) < maxDatagram {
		buf := buffers.Get().(*[maxDatagram]byte)
		defer buffers.Put(buf)
		in = buf[:]
	}
	for {
		n, fromServer, err := c.Receive(in)
		if err != nil {
			return 0, nil, c.opError("read", err)
		}
		if !fromServer {
			c.d.foreign.Add(1)
			continue
		}
		from, payload, ok := open(in[:n], c.key)
		if !ok {
			c.d.bad.Add(1)
			continue
		}
		return copy(b, payload), from.NetAddr(), nil
	}
}

// WaitRead implements outbound.PacketWaiter.
func (c *packetConn) WaitRead() error {
	if err := c.Wait(); err != nil {
		return c.opError("read", err)
	}
	return nil
}

// open decrypts a datagram in place and takes the address off.
func open(b []byte, key *shadowsocks.EncryptionKey) (from socksaddr.Addr, payload []byte, ok bool) {
	plain, err := shadowsocks.Unpack(nil, b, key)
	if err != nil {
		return from, nil, false
	}
	from, n, err := socksaddr.Parse(plain)
	if err != nil || from.Name == "" && !from.IP.IsValid() {
		return from, nil, false
	}
	return from, plain[n:], true
}

func (c *packetConn) opError(op string, err error) error {
	if below, ok := err.(*net.OpError); ok {
		err = below.Err
	}
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: c.Addr, Err: err}
}

package udp

import (
	"net"
	"net/netip"
	"time"
)

// Conn is the connected view of a Socket with two fixed ends: what
// [Socket.Conn] and [Table.Dial] return. It is a net.Conn, and a net.PacketConn
// too, as a connected *net.UDPConn is: net.Resolver, for one, tells UDP from TCP
// by that. All methods may be called at once by anyone.
type Conn struct{ s *Socket }

var (
	_ net.Conn       = (*Conn)(nil)
	_ net.PacketConn = (*Conn)(nil)
	_ net.PacketConn = (*Socket)(nil)
)

// Socket returns what the Conn is a view of.
func (c *Conn) Socket() *Socket { return c.s }

// Read reads one datagram into b. One that is longer is cut, and the error says
// so as that of [Socket.ReadFrom] does.
func (c *Conn) Read(b []byte) (int, error) {
	n, _, err := c.s.ReadFromUDPAddrPort(b)
	return n, err
}

// Write sends b as one datagram.
func (c *Conn) Write(b []byte) (int, error) {
	return c.s.write(b, netip.AddrPort{}, netip.AddrPort{}, netip.AddrPort{})
}

// ReadFrom is Read with the address of the other end.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) { return c.s.ReadFrom(b) }

// ReadFromUDPAddrPort is ReadFrom without an allocation.
func (c *Conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	return c.s.ReadFromUDPAddrPort(b)
}

// WriteTo always fails with net.ErrWriteToConnected, as that of a connected
// *net.UDPConn does.
func (c *Conn) WriteTo(_ []byte, addr net.Addr) (int, error) {
	return 0, c.s.opError(opWrite, addr, net.ErrWriteToConnected)
}

// LocalAddr returns our end, a *net.UDPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.s.LocalAddr() }

// RemoteAddr returns the other end, a *net.UDPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.s.RemoteAddr() }

// SetDeadline is [Socket.SetDeadline].
func (c *Conn) SetDeadline(t time.Time) error { return c.s.SetDeadline(t) }

// SetReadDeadline is [Socket.SetReadDeadline].
func (c *Conn) SetReadDeadline(t time.Time) error { return c.s.SetReadDeadline(t) }

// SetWriteDeadline is [Socket.SetWriteDeadline].
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.s.SetWriteDeadline(t) }

// SetReadBuffer is [Socket.SetReadBuffer].
func (c *Conn) SetReadBuffer(bytes int) error { return c.s.SetReadBuffer(bytes) }

// Close closes the Socket.
func (c *Conn) Close() error { return c.s.Close() }

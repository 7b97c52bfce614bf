package datagram

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/l3conn"
)

// batchSize is the largest number of packets per ReadBatch and per system call.
const batchSize = 64

// socket is what net.Conn and net.PacketConn have in common.
type socket interface {
	Close() error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Conn carries one packet per datagram; see the package comment. One goroutine may
// read and any number may write at once; all other methods may be called from
// anywhere at any time. Errors are *net.OpError, but for those that l3conn names.
type Conn struct {
	cfg     Config
	socket  socket
	packets net.PacketConn // nil: connected
	stream  net.Conn       // nil: not connected
	fast    *fast          // nil: one packet per call
	mtu     atomic.Int64
	peer    atomic.Pointer[peer] // nil: not known yet, or connected
	closing func() error

	room []byte // of plain reads

	counters counters
}

// peer is an address of the peer's.
type peer struct {
	addr net.Addr
	udp  netip.AddrPort // without zone, IPv4 as such; invalid if it is no UDP address
	name string         // of any other
}

func newPeer(addr net.Addr) *peer {
	if u, ok := addr.(*net.UDPAddr); ok {
		return &peer{addr: addr, udp: bare(u.AddrPort())}
	}
	return &peer{addr: addr, name: addr.String()}
}

// bare makes addresses of one host equal.
func bare(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func (p *peer) same(q *peer) bool { return p.udp == q.udp && p.name == q.name }

// New returns a Conn over a socket that is not connected, such as net.ListenPacket
// makes. The socket is the Conn's from then on. c is copied; a wrong value is an error
// that names the field.
func New(pc net.PacketConn, c *Config) (*Conn, error) {
	cfg, err := c.withDefaults(false)
	if err != nil {
		return nil, err
	}
	d := &Conn{cfg: cfg, socket: pc, packets: pc}
	if cfg.Peer != nil {
		d.peer.Store(newPeer(cfg.Peer))
	}
	d.start(pc, cfg.Peer)
	return d, nil
}

// NewConnected returns a Conn over a socket that is connected, such as net.Dial
// makes, or any other net.Conn that keeps the bounds of datagrams. The socket is the
// Conn's from then on. c is copied; a wrong value is an error that names the field.
func NewConnected(conn net.Conn, c *Config) (*Conn, error) {
	cfg, err := c.withDefaults(true)
	if err != nil {
		return nil, err
	}
	d := &Conn{cfg: cfg, socket: conn, stream: conn}
	d.start(conn, conn.RemoteAddr())
	return d, nil
}

func (c *Conn) start(s socket, to net.Addr) {
	c.closing = sync.OnceValue(func() error { return ioError("close", c.socket.Close()) })
	c.mtu.Store(int64(c.cfg.MTU))
	if c.cfg.MTU == 0 {
		c.mtu.Store(DefaultMTU)
		c.askPath(s, to)
	}
	if b, ok := s.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok && c.cfg.SocketBuffer > 0 { // for speed only
		_ = b.SetReadBuffer(c.cfg.SocketBuffer)
		_ = b.SetWriteBuffer(c.cfg.SocketBuffer)
	}
	if u, ok := s.(*net.UDPConn); ok {
		c.fast = newFast(c, u)
	}
}

// askPath takes the MTU from the path, if the system tells.
func (c *Conn) askPath(s socket, to net.Addr) {
	if c.cfg.MTU != 0 {
		return
	}
	if u, ok := to.(*net.UDPAddr); ok {
		if m := pathMTU(s, u, c.stream != nil); m > 0 {
			c.mtu.Store(int64(min(max(m, minMTU), maxPathMTU)))
		}
	}
}

// Peer returns the peer's present address; nil if it is not known yet.
func (c *Conn) Peer() net.Addr {
	if c.stream != nil {
		return c.stream.RemoteAddr()
	}
	if p := c.peer.Load(); p != nil {
		return p.addr
	}
	return nil
}

// Caps implements l3conn.Capper.
func (c *Conn) Caps() l3conn.Caps {
	caps := l3conn.Caps{MTUer: c, ReadDeadliner: c, WriteDeadliner: c, Closer: c}
	if c.fast != nil {
		caps.BatchReader, caps.BatchWriter = c.fast, c.fast
	}
	return caps
}

// MTU implements l3conn.MTUer. It sinks when the path's does, unless Config.MTU
// says what it is.
func (c *Conn) MTU() int { return int(c.mtu.Load()) }

// SetReadDeadline implements l3conn.ReadDeadliner.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return ioError("set", c.socket.SetReadDeadline(t))
}

// SetWriteDeadline implements l3conn.WriteDeadliner.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return ioError("set", c.socket.SetWriteDeadline(t))
}

// Close closes the socket and with it ends every call that is blocked. It may be
// called again and returns the same.
func (c *Conn) Close() error { return c.closing() }

// ioError gives an error of the socket its place, if it has none.
func ioError(op string, err error) error {
	var known *net.OpError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &net.OpError{Op: op, Net: "datagram", Err: err}
}

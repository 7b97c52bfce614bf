package gostrelay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-gost/relay"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
)

// maxFlows bounds the connections of a socket, one for each destination. The one that
// was used least recently makes room.
const maxFlows = 64

// maxQueue bounds the datagrams of a flow that wait for the server; more are dropped and
// counted.
const maxQueue = 32

// maxDatagram is the largest datagram: two bytes say its length.
const maxDatagram = 65535

// ListenPacket returns a socket that reaches destinations of both families, each by a
// connection to the server of its own. Network is "udp", "udp4" or "udp6", which are
// alike, and address is not used. Nothing is dialled yet: that a destination cannot be
// reached is the error of a later WriteTo to it. WriteTo and ReadFrom take and return
// addresses as those of socks5 do.
func (d *Dialer) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6":
	default:
		return nil, hop.OpError("listen", network, address, net.UnknownNetworkError(network))
	}
	c := &packetConn{d: d, flows: make(map[socksaddr.Addr]*flow)}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx)) // who is told of sockets, and the flow, stay
	c.near, c.far = net.Pipe()
	return c, nil
}

// Stats are what a Dialer has counted.
type Stats struct {
	Dropped uint64 // datagrams that found no room on their way to the server, or no way
}

// Stats returns the counters.
func (d *Dialer) Stats() Stats { return Stats{Dropped: d.dropped.Load()} }

// packetConn is a socket whose datagrams go over streams.
type packetConn struct {
	d         *Dialer
	ctx       context.Context // of its flows
	cancel    context.CancelFunc
	runs      sync.WaitGroup // the goroutines of its flows, awaited by Close
	near, far net.Conn       // a pipe: each Write to far is a datagram behind its source's address

	mu     sync.Mutex
	closed bool
	flows  map[socksaddr.Addr]*flow
	clock  uint64 // counts uses of flows
}

// flow is the connection for one destination.
type flow struct {
	out    chan []byte // frames for the server
	cancel context.CancelFunc
	used   uint64
	err    atomic.Pointer[error] // why it has ended
}

// WriteTo sends b to addr, later if it is the first to it.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := socksaddr.Of(addr)
	if err == nil && len(b) > maxDatagram {
		err = syscall.EMSGSIZE
	}
	var f *flow
	if err == nil {
		f, err = c.flow(to)
	}
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Source: c.LocalAddr(), Addr: addr, Err: err}
	}
	frame := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b))), b...)
	select {
	case f.out <- frame:
	default:
		c.d.dropped.Add(1)
	}
	return len(b), nil
}

// flow returns the flow to a destination, or why the last one has failed.
func (c *packetConn) flow(to socksaddr.Addr) (*flow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	c.clock++
	f := c.flows[to]
	if f != nil {
		if err := f.err.Load(); err != nil {
			delete(c.flows, to)
			if *err != nil {
				return nil, *err
			}
			f = nil
		}
	}
	if f == nil {
		c.makeRoom()
		f = &flow{out: make(chan []byte, maxQueue)}
		var ctx context.Context
		ctx, f.cancel = context.WithCancel(c.ctx)
		c.flows[to] = f
		c.runs.Go(func() { c.serve(ctx, f, to) }) // ends with the connection or ctx
	}
	f.used = c.clock
	return f, nil
}

func (c *packetConn) makeRoom() {
	if len(c.flows) < maxFlows {
		return
	}
	var oldest socksaddr.Addr
	for to, f := range c.flows {
		if o := c.flows[oldest]; o == nil || f.used < o.used {
			oldest = to
		}
	}
	c.flows[oldest].cancel()
	delete(c.flows, oldest)
}

// serve dials for a flow and moves its datagrams.
func (c *packetConn) serve(ctx context.Context, f *flow, to socksaddr.Addr) {
	defer f.cancel()
	up, p, err := c.d.dial(ctx, "udp", to.String(), answer)
	if err == nil {
		defer context.AfterFunc(ctx, func() { _ = up.Close() })()
		down := make(chan error, 1)
		c.runs.Go(func() { // ends with the connection
			down <- c.receive(up, to)
			f.cancel()
		})
		c.send(ctx, f, up)
		_ = up.Close()
		if err = <-down; err != nil {
			err = p.Fault(hop.Cut(err))
		}
	}
	if c.ctx.Err() != nil {
		err = net.ErrClosed
	}
	f.err.Store(&err)
	for { // what is still there goes nowhere
		select {
		case <-f.out:
			c.d.dropped.Add(1)
		default:
			return
		}
	}
}

// send writes what the flow has until ctx ends, which a failed connection sees to.
func (c *packetConn) send(ctx context.Context, f *flow, up net.Conn) {
	for {
		select {
		case frame := <-f.out:
			if _, err := up.Write(frame); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// receive hands on what comes. An end between two datagrams is none to speak of.
func (c *packetConn) receive(up io.Reader, from socksaddr.Addr) error {
	for {
		var size [2]byte
		if _, err := io.ReadFull(up, size[:]); err != nil {
			if err == io.EOF || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if err := c.handOn(up, from, int(binary.BigEndian.Uint16(size[:]))); err != nil {
			return err
		}
	}
}

// handOn hands on a datagram of n bytes. No flow holds a buffer while nothing comes.
func (c *packetConn) handOn(up io.Reader, from socksaddr.Addr, n int) error {
	buf := buffers.Get().(*[socksaddr.MaxLen + maxDatagram]byte)
	defer buffers.Put(buf)
	head := len(from.Append(buf[:0]))
	if _, err := io.ReadFull(up, buf[head:head+n]); err != nil {
		return fmt.Errorf("within a datagram: %w", err)
	}
	_, err := c.far.Write(buf[:head+n]) // fails once the socket is closed, and up with it
	return err
}

var buffers = sync.Pool{New: func() any { return new([socksaddr.MaxLen + maxDatagram]byte) }}

// WaitRead implements outbound.PacketWaiter: to read nothing from a pipe waits for somebody
// who writes, and takes nothing from him.
func (c *packetConn) WaitRead() error {
	_, err := c.read(nil)
	return err
}

func (c *packetConn) read(b []byte) (int, error) {
	n, err := c.near.Read(b)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed
	}
	return 0, c.opError("read", err)
}

// ReadFrom returns the next datagram and who sent it. What does not fit into b is
// lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if err := c.WaitRead(); err != nil { // holding no buffer
		return 0, nil, err
	}
	buf := buffers.Get().(*[socksaddr.MaxLen + maxDatagram]byte)
	defer buffers.Put(buf)
	n, err := c.read(buf[:])
	if err != nil {
		return 0, nil, err
	}
	from, head, err := socksaddr.Parse(buf[:n])
	if err != nil {
		return 0, nil, c.opError("read", err) // cannot be: receive made it
	}
	return copy(b, buf[head:n]), from.NetAddr(), nil
}

// Close ends all flows.
func (c *packetConn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return c.opError("close", net.ErrClosed)
	}
	c.cancel()
	_, _ = c.near.Close(), c.far.Close() // they return nil
	c.runs.Wait()
	return nil
}

// LocalAddr is no address of this host: there is a connection for each destination.
func (c *packetConn) LocalAddr() net.Addr { return &net.UDPAddr{} }

func (c *packetConn) SetDeadline(t time.Time) error      { return c.near.SetReadDeadline(t) }
func (c *packetConn) SetReadDeadline(t time.Time) error  { return c.near.SetReadDeadline(t) }
func (c *packetConn) SetWriteDeadline(t time.Time) error { return nil } // no write waits

func (c *packetConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}

// datagrams makes a request one for datagrams, as old servers and new ones want it.
func datagrams(r *relay.Request) {
	r.Cmd |= relay.FUDP
	r.Features = append(r.Features, &relay.NetworkFeature{Network: relay.NetworkUDP})
}

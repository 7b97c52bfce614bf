package socks5

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// association is the socket of a UDP ASSOCIATE. Everything that passes it has a
// header: two bytes of nothing, the number of a fragment, an address.
type association struct {
	d    *Dialer
	p    *hop.Proxy
	pc   *hop.Socket // whose peer is the proxy's relay
	ctrl net.Conn

	ended   atomic.Pointer[error] // why
	watched chan struct{}         // closed when watch has ended
}

const headLen = 3 // before the address

// maxDatagram is the largest UDP payload there is, over IPv6.
const maxDatagram = 65535 - 8

// buffers are for datagrams with their header. They never leave this package.
var buffers = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

func newAssociation(d *Dialer, p *hop.Proxy, pc net.PacketConn, ctrl net.Conn, relay netip.AddrPort) *association {
	a := &association{d: d, p: p, pc: hop.NewSocket(pc, relay), ctrl: ctrl, watched: make(chan struct{})}
	go a.watch() // ends with the control connection, which Close closes; awaited by Close
	return a
}

// watch waits for the end of the control connection, which is the association's.
// What comes there before is of no meaning.
func (a *association) watch() {
	defer close(a.watched)
	var b [64]byte
	for {
		if _, err := a.ctrl.Read(b[:]); err != nil {
			a.end(a.p.Fault(errGone))
			_ = a.pc.SetReadDeadline(past) // who reads hears of it, and so does everybody later
			return
		}
	}
}

var (
	past    = time.Unix(1, 0)
	errGone = errors.New("ended the association")
)

func (a *association) end(err error) bool { return a.ended.CompareAndSwap(nil, &err) }

// Close ends the association.
func (a *association) Close() error {
	first := a.end(net.ErrClosed) // else the proxy may have ended it; its sockets are still open
	cerr := a.ctrl.Close()
	err := a.pc.Close()
	<-a.watched
	if !first && (errors.Is(err, net.ErrClosed) || errors.Is(cerr, net.ErrClosed)) {
		return a.opError("close", net.ErrClosed)
	}
	if err != nil {
		return a.opError("close", err)
	}
	return nil
}

// why returns the error of a call that failed with err: that the association has
// ended, if it has.
func (a *association) why(err error) error {
	if p := a.ended.Load(); p != nil {
		return *p
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (a *association) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: a.pc.LocalAddr(), Addr: a.pc.Addr, Err: err}
}

// WriteTo sends b to a destination by the proxy. A name is resolved there.
func (a *association) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := socksaddr.Of(addr)
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Source: a.pc.LocalAddr(), Addr: addr, Err: err}
	}
	if a.ended.Load() != nil {
		return 0, a.opError("write", a.why(nil))
	}
	buf := buffers.Get().(*[maxDatagram]byte)
	defer buffers.Put(buf)
	head := to.Append(append(buf[:0], 0, 0, 0))
	if len(head)+len(b) > len(buf) {
		return 0, a.opError("write", syscall.EMSGSIZE)
	}
	msg := append(head, b...)
	if err := a.pc.Send(msg); err != nil {
		return 0, a.opError("write", a.why(err))
	}
	return len(b), nil
}

// ReadFrom returns the next datagram and who sent it. What does not fit into b is
// lost.
func (a *association) ReadFrom(b []byte) (int, net.Addr, error) {
	// The header is read too. With room for both, as a forwarder has, nothing else is
	// held while nothing comes.
	in := b
	if len(b) < maxDatagram {
		buf := buffers.Get().(*[maxDatagram]byte)
		defer buffers.Put(buf)
		in = buf[:]
	}
	for {
		n, fromRelay, err := a.pc.Receive(in)
		if err != nil {
			return 0, nil, a.opError("read", a.why(err))
		}
		if !fromRelay {
			a.d.foreignDatagrams.Add(1)
			continue
		}
		from, payload, ok := a.open(in[:n])
		if ok {
			return copy(b, payload), from.NetAddr(), nil
		}
	}
}

// open takes the header off a datagram, or drops and counts it.
func (a *association) open(b []byte) (from socksaddr.Addr, payload []byte, ok bool) {
	if len(b) < headLen {
		a.d.badDatagrams.Add(1)
		return from, nil, false
	}
	if b[2] != 0 {
		a.d.fragments.Add(1)
		return from, nil, false
	}
	from, n, err := socksaddr.Parse(b[headLen:])
	if err != nil || from.Name == "" && !from.IP.IsValid() {
		a.d.badDatagrams.Add(1)
		return from, nil, false
	}
	return from, b[headLen+n:], true
}

func (a *association) LocalAddr() net.Addr { return a.pc.LocalAddr() }

func (a *association) SetDeadline(t time.Time) error {
	return errors.Join(a.SetReadDeadline(t), a.SetWriteDeadline(t))
}

func (a *association) SetReadDeadline(t time.Time) error {
	err := a.pc.SetReadDeadline(t)
	if a.ended.Load() != nil { // a reader that waits must go on hearing of it
		return a.opError("set", errors.Join(a.why(nil), a.pc.SetReadDeadline(past)))
	}
	return err
}

func (a *association) SetWriteDeadline(t time.Time) error { return a.pc.SetWriteDeadline(t) }

// WaitRead implements outbound.PacketWaiter.
func (a *association) WaitRead() error {
	if err := a.pc.Wait(); err != nil {
		return a.opError("read", a.why(err))
	}
	return nil
}

var (
	_ outbound.EarlyDialer    = (*Dialer)(nil)
	_ outbound.PacketListener = (*Dialer)(nil)
	_ outbound.PacketWaiter   = (*association)(nil)
)

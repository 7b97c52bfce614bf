package forward

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/internal/epoll"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
	"l3extract/stack"
	"l3extract/tcp"
)

// pair is a stream and the kernel socket that was dialled for it, in a loop.
type pair struct {
	loop *loop
	st   *tcp.Driven
	self tcp.Driver // the pair itself

	bits atomic.Uint32 // what is to be looked at; not zero while the pair is on the list
	next *pair         // on the list; under the loop's mu

	phase atomic.Uint32           // only ever moves on
	ends  atomic.Uint32           // directions that have ended in order
	dial  atomic.Pointer[dialing] // while the socket is being connected

	activity

	stalled bool // waits for the packet conn; under the loop's stall

	// Whoever looks at a direction holds its lock, and both to close the socket, up
	// first. Nobody waits holding one.
	up, down sync.Mutex

	sock direct.Socket
	reg  *epoll.Registration // nil: none

	// Under up.
	upDone bool
	full   bool  // the socket had no room
	lost   error // with which the socket refused to take what the client sent

	// Under down.
	downDone bool
	in       bool   // the socket may have something
	hup      bool   // a short read does not mean that there is no more
	pending  []byte // came out of the socket, and the engine had no room for it
}

// phases of a pair.
const (
	dialling  = iota // the socket is being connected
	answering        // the stream's handshake is under way
	relaying
	over
)

// What is to be looked at.
const (
	canUp   uint32 = 1 << iota // the stream has something, or the socket has room again
	canDown                    // the stream has room again
	hungUp                     // the stream, or its handshake, may have ended
)

// interest is what a loop wants to hear of a socket: one registration for its life.
const interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET

// take dials t for st, whose flow is f, if that can be done without waiting: true says
// that the loop has it from here on, or has refused it.
func (l *loop) take(ctx context.Context, st *tcp.Stream, f outbound.Flow, t *Target) bool {
	d := l.n.loopDialer(t)
	if d == nil || t.Host != "" {
		return false // names take time
	}
	n := l.n
	if !t.Trusted {
		if err := n.judge(t.Addr.Addr()); err != nil {
			n.stats.policyStreams.Add(1)
			n.refuse(st, err)
			return true
		}
	}
	place, err := n.acquire(st, t)
	if err != nil {
		n.refuse(st, err)
		return true
	}
	p := l.newPair(st)
	g := &dialing{p: p, ctx: ctx, addr: t.Addr, place: place, began: place.began}
	p.dial.Store(g)
	n.stats.dials.Add(1)
	n.stats.dialing.Add(1)
	if d.Control != nil {
		ctx = outbound.WithFlow(ctx, f)
	}
	sock, err := d.Connect(ctx, t.Addr)
	if err != nil {
		p.dialFailed(g, err)
		return true
	}
	p.up.Lock() // EndVia knows of p
	p.sock = sock
	p.up.Unlock()
	l.dials.add(g)
	if p.dial.Load() == nil { // EndVia has ended it before it was there to be removed
		l.dials.remove(g)
	}
	p.begin()
	place.wait(func() { p.dialFailed(g, dialError(g, os.ErrDeadlineExceeded)) })
	return true
}

// adopt takes over st and a connection that was dialled for it, if that is a socket of
// package net's own.
func (l *loop) adopt(st *tcp.Stream, up net.Conn) bool {
	c, ok := up.(*net.TCPConn)
	if !ok {
		return false // a type that embeds one has its own idea of Read and Write
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	if cerr := raw.Control(func(was uintptr) {
		fd, err = unix.FcntlInt(was, unix.F_DUPFD_CLOEXEC, 0)
	}); cerr != nil || err != nil {
		return false // its reads say what is wrong
	}
	_ = c.Close() // the duplicate is the socket now, which the runtime need not watch
	p := l.newPair(st)
	p.up.Lock()
	p.sock.FD = fd
	p.up.Unlock()
	p.phase.Store(answering)
	p.begin()
	p.answer()
	return true
}

// newPair returns a pair without a socket, which the session knows of until it is over.
func (l *loop) newPair(st *tcp.Stream) *pair {
	p := &pair{loop: l, st: (*tcp.Driven)(st), sock: direct.Socket{FD: -1}}
	p.self = p
	l.n.flows.Add(1)
	l.n.add(p)
	return p
}

// begin makes p hear of its stream and of its socket. Where that cannot be the pair has
// nobody who would move its bytes, and ends.
func (p *pair) begin() {
	p.st.Stream().Drive(&p.self)
	var err error
	p.up.Lock()
	if p.sock.FD >= 0 { // else the stream has ended, and the pair with it
		p.reg, err = p.loop.poller.Add(p.sock.FD, interest, p)
	}
	p.up.Unlock()
	if err != nil {
		p.fail(err)
	}
}

// fail ends p for an error of our own.
func (p *pair) fail(err error) {
	if g := p.dial.Load(); g != nil {
		p.dialFailed(g, err)
		return
	}
	_ = p.st.Stream().ResetCause(err)
	p.end(true)
}

// Notify implements tcp.Driver.
func (p *pair) Notify(ev netstack.Event) {
	var bits uint32
	if ev&netstack.Readable != 0 {
		bits |= canUp
	}
	if ev&netstack.Writable != 0 {
		bits |= canDown
	}
	if ev&netstack.HangUp != 0 {
		bits |= hungUp
	}
	p.post(bits)
}

// post asks for a look at p by ready.
func (p *pair) post(bits uint32) {
	if p.bits.Or(bits) == 0 && bits != 0 {
		p.loop.push(p)
	}
}

// Ready implements epoll.Handler.
func (p *pair) Ready(events uint32) {
	switch p.phase.Load() {
	case dialling:
		if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			p.dialled(events&(unix.EPOLLERR|unix.EPOLLHUP) != 0)
		}
		fallthrough // what else has come is for later
	case answering, relaying:
		// A short read says that there is no more, but not when an end is behind it, or
		// urgent data, at which a read stops.
		const more = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR | unix.EPOLLPRI
		if events&(unix.EPOLLIN|more) != 0 {
			p.down.Lock()
			p.in = true
			p.hup = p.hup || events&more != 0
			p.down.Unlock()
			p.downwards(ofPoll)
		}
		// That there is room is told with everything else that happens.
		p.up.Lock()
		wanted := p.full && events&unix.EPOLLOUT != 0
		p.up.Unlock()
		if wanted || events&unix.EPOLLERR != 0 {
			p.upwards()
		}
	}
}

// handle looks at p for ready.
func (p *pair) handle(bits uint32) {
	switch p.phase.Load() {
	case dialling:
		if cause := p.st.Cause(); cause != nil {
			g := p.dial.Load()
			p.dialFailed(g, dialError(g, cause))
		}
	case answering:
		switch {
		case p.st.Established():
			if p.phase.CompareAndSwap(answering, relaying) {
				p.loop.n.stats.relays.Add(1)
				p.upwards()
				p.downwards(ofReady)
			}
		case p.st.Cause() != nil:
			p.end(false) // the client went away; the stack knows the cause
		}
	case relaying:
		if bits&hungUp != 0 {
			if cause := p.st.Cause(); cause != nil && cause != error(stack.Closed) {
				p.end(true)
				_ = p.st.Stream().Close() // what it received and nobody will read goes
				return
			}
		}
		if bits&canUp != 0 {
			p.upwards()
		}
		if bits&canDown != 0 {
			p.downwards(ofReady)
		}
	}
}

// dialled looks at a socket that is connected, or, if failed is set, is not to be.
func (p *pair) dialled(failed bool) {
	var code unix.Errno
	if failed {
		p.up.Lock()
		v, err := unix.GetsockoptInt(p.sock.FD, unix.SOL_SOCKET, unix.SO_ERROR)
		if code = unix.Errno(v); err != nil {
			code = unix.EBADF // the pair has ended
		}
		p.up.Unlock()
	}
	g := p.dial.Load()
	if code != 0 && g != nil {
		p.dialFailed(g, dialError(g, os.NewSyscallError("connect", code)))
		return
	}
	if p.settleDial(g, nil) && p.phase.CompareAndSwap(dialling, answering) {
		p.answer()
	}
}

// settleDial gives back what a dial holds, and reports it; false if somebody else did,
// and g may be nil then.
func (p *pair) settleDial(g *dialing, err error) bool {
	if g == nil || !p.dial.CompareAndSwap(g, nil) {
		return false
	}
	n, st := p.loop.n, p.st.Stream()
	p.loop.dials.remove(g)
	g.place.release()
	n.stats.dialing.Add(-1)
	n.report(st, g.addr.String, g.began, err)
	return true
}

// dialFailed ends p because its dial did.
func (p *pair) dialFailed(g *dialing, err error) {
	if !p.settleDial(g, err) {
		return
	}
	p.loop.n.refuse(p.st.Stream(), p.loop.n.dialError(g.ctx, err))
	p.end(false)
}

// dialError is err as package net's Dialer would return it; g may be nil.
func dialError(g *dialing, err error) error {
	e := &net.OpError{Op: "dial", Net: "tcp", Err: err}
	if g != nil {
		e.Addr = net.TCPAddrFromAddrPort(g.addr)
	}
	return e
}

// answer answers the client, which the socket is connected for.
func (p *pair) answer() {
	p.st.Answer()
	if p.st.Established() || p.st.Cause() != nil {
		p.post(hungUp) // it has told so, but perhaps too early
	}
}

// end ends p, once: the socket is closed, with a RST if reset is set.
func (p *pair) end(reset bool) {
	was := p.phase.Swap(over)
	if was == over {
		return
	}
	p.up.Lock()
	p.down.Lock()
	if p.reg != nil {
		p.reg.RemoveClosing()
		p.reg = nil
	}
	if p.sock.FD >= 0 {
		if reset {
			_ = unix.SetsockoptLinger(p.sock.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		p.sock.Close()
		p.sock.FD = -1
	}
	p.keep(nil)
	p.down.Unlock()
	p.up.Unlock()
	n := p.loop.n
	if was == relaying {
		n.stats.relays.Add(-1)
	}
	n.remove(p)
	n.flows.Done()
}

// stop implements ender: the end of the stream ends the pair.
func (p *pair) stop(cause error) { _ = p.st.Stream().ResetCause(cause) }

// clientGone ends p after an error of the stream.
func (p *pair) clientGone(err error) {
	_ = p.st.Stream().ResetCause(flow.CauseOf(err))
	p.end(true)
}

// idleFor implements idler. A dial has a time-out of its own, and so has a handshake.
func (p *pair) idleFor(now time.Time, full, half time.Duration) bool {
	return p.phase.Load() == relaying && p.activity.idleFor(p.st.Stream().FlowInfo(), now, full, half)
}

package tcp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

const network = "tcp"

// ID numbers the flows of one stack, from 1. No two have the same.
type ID = flow.ID

// Stream is one TCP connection. All methods may be called at once by anyone:
// readers take turns among themselves, and so do writers; neither waits for the
// other, and Close, CloseRead, CloseWrite, Reset and the setters wait for nobody.
type Stream struct {
	// Locks, in the order in which they may be taken together:
	//
	//	readMu or writeMu   held during a whole call, its waits included, so
	//	                    only readers wait for readMu and only writers for writeMu
	//	peekMu              held over one call that does not wait
	//	the send token      a flag under mu; its holder waits for nothing
	//	tuneMu              held over engine calls, which do not wait
	//	(the engine's locks)
	//	mu, a deadline's mu, a list of Flushers or Closer: leaves
	//
	// mu is never held over a call of the engine: the engine's callbacks take
	// nothing but a list's lock.

	env *Env
	cfg *Config
	id  ID

	source, destination netip.AddrPort
	dialed              bool
	opened              time.Time
	addrs               atomic.Pointer[ends]

	ep      atomic.Pointer[netstack.Endpoint] // nil until the handshake is done
	pending *pending                          // nil for streams that were born established
	onEnd   func()                            // called once when the flow ends; may be nil
	driver  atomic.Pointer[Driver]            // an event loop that reads and writes, or nil

	// dead is set once by whatever ends the stream from our side, and is what
	// calls return from then on.
	dead    atomic.Pointer[error]
	closing atomic.Bool // Close was called, or the stream was ended otherwise

	in, out, lost atomic.Uint64 // payload bytes: read or discarded, accepted for sending, undelivered
	kept          atomic.Int64  // bytes of the stream that its driver keeps
	moved         int64         // when it was opened, by the budget's time

	readMu   sync.Mutex
	rsig     signal // wakes the one reader: input, deadline, end
	rdl      deadline
	readShut atomic.Bool // input is discarded
	consumed int         // bytes of the present window; under readMu
	window   int         // as many are a window; under readMu
	windowAt int64       // nanotime when consumed was 0; under readMu

	peekMu sync.Mutex // no peeked memory is in use while somebody else holds it

	writeMu sync.Mutex
	wsig    signal // wakes the one writer: room, token, deadline, end
	wdl     deadline
	sent    int // bytes the engine took since growing was last thought of; under writeMu

	tuneMu         sync.Mutex
	rbuf, sbuf     int  // buffers, as the budget knows them
	rfixed, sfixed bool // set by the application: no tuning
	returned       bool // what the budget knows of was given back

	note noted // what a flusher and the closer keep about the stream

	mu sync.Mutex
	wb writeBuffer
	// cause is why the flow ended, nil while it lives.
	cause   error
	endedAt time.Time
	ctx     context.Context
	cancel  context.CancelCauseFunc
	linger  time.Duration // CloseTimeout of this stream; 0: the Config's
	abortOn bool          // SetLinger(0): Close resets
}

// ends are the net.Addr forms of a stream's ends, made when first asked for.
type ends struct{ local, remote net.TCPAddr }

// NewStream returns the stream of an established endpoint and takes over the
// endpoint. Only package stack and this package can call it.
func NewStream(env *Env, cfg *Config, ep *netstack.Endpoint, source, destination netip.AddrPort, dialed bool) *Stream {
	s := newStream(env, cfg, source, destination, dialed)
	env.Flows.Add(s.id, s)
	s.attach(ep)
	return s
}

func newStream(env *Env, cfg *Config, source, destination netip.AddrPort, dialed bool) *Stream {
	s := &Stream{
		env: env, cfg: cfg, id: env.Flows.NextID(),
		source: source, destination: destination, dialed: dialed,
		opened: env.Clock.Now(), moved: env.Budget.Now(),
		rsig: newSignal(), wsig: newSignal(),
	}
	env.Budget.Hold(budget.Flow, budget.StreamCost)
	s.wb.init(cfg.WriteBuffer, segmentSize(env.MTU, destination.Addr()))
	return s
}

// attach makes ep the stream's endpoint. It aborts ep when the stream was ended
// meanwhile.
func (s *Stream) attach(ep *netstack.Endpoint) {
	s.tuneMu.Lock()
	if !s.returned {
		s.rbuf, s.sbuf = ep.ReceiveBuffer(), ep.SendBuffer() // as Budget.Start said
	}
	s.window, s.windowAt = s.rbuf/2, nanotime()
	s.tuneMu.Unlock()
	s.configure(ep)
	s.mu.Lock()
	dead := s.dead.Load() != nil
	s.ep.Store(ep)
	s.mu.Unlock()
	if dead {
		ep.Abort()
		return
	}
	s.env.Flows.Established(s)
	ep.SetNotifier(s)
	s.note.live.Store(true)
	s.mu.Lock()
	finish := s.wb.shut && !s.wb.token
	if finish {
		s.wb.token = true // CloseWrite came before the handshake
	}
	s.mu.Unlock()
	if finish {
		s.release()
	}
	if ended(ep.State()) {
		s.post(postHangUp)
	}
}

// configure applies what differs from the engine's own defaults.
func (s *Stream) configure(ep *netstack.Endpoint) {
	c := s.cfg
	if idle := keepAliveTime(c, s.dialed); idle > 0 {
		_ = ep.SetKeepAlive(net.KeepAliveConfig{Enable: true, Idle: idle, Interval: idle})
	}
	if c.UserTimeout > 0 {
		_ = ep.SetUserTimeout(c.UserTimeout)
	}
	if c.HopLimit > 0 && c.HopLimit != 64 {
		_ = ep.SetHopLimit(c.HopLimit)
	}
	if c.TrafficClass > 0 {
		_ = ep.SetTOS(c.TrafficClass)
	}
	if c.Congestion != Reno {
		_ = ep.SetCongestion(c.Congestion.String())
	}
}

func keepAliveTime(c *Config, dialed bool) time.Duration {
	if dialed {
		return c.DialKeepAlive
	}
	return c.KeepAlive
}

// ended reports whether no segment of the connection will be sent or taken any
// more by the engine on its own account.
func ended(st netstack.State) bool {
	switch st {
	case netstack.StateError, netstack.StateClose, netstack.StateTimeWait:
		return true
	}
	return false
}

// Notify implements netstack.Notifier. It runs under locks of the engine.
func (s *Stream) Notify(ev netstack.Event) {
	if d := s.driver.Load(); d != nil {
		(*d).Notify(ev)
	} else {
		if ev&netstack.Readable != 0 {
			s.rsig.wake()
		}
		if ev&netstack.Writable != 0 {
			s.wsig.wake()
		}
	}
	var p uint32
	switch {
	case s.closing.Load():
		s.env.Closer.poke(s)
	case ev&netstack.Readable != 0 && s.readShut.Load():
		p = postDiscard
	}
	if ev&netstack.Writable != 0 && s.wb.blocked.Load() {
		p |= postFlush
	}
	if ev&netstack.HangUp != 0 && s.note.live.Load() {
		p |= postHangUp // not for the event that every endpoint begins with
	}
	if p != 0 {
		s.post(p)
	}
}

// Source returns the client's end, or our own for a dialled stream.
func (s *Stream) Source() netip.AddrPort { return s.source }

// Destination returns the end that was dialled.
func (s *Stream) Destination() netip.AddrPort { return s.destination }

// Dialed reports whether the stream was dialled from inside the stack.
func (s *Stream) Dialed() bool { return s.dialed }

// ID returns the number of this flow in its stack.
func (s *Stream) ID() ID { return s.id }

// LocalAddr returns our end: the address that the client dialled, or the one we
// dialled from. It is never nil and never changes.
func (s *Stream) LocalAddr() net.Addr { return &s.ends().local }

// RemoteAddr returns the peer's end: the client, or the address we dialled. It
// is never nil and never changes.
func (s *Stream) RemoteAddr() net.Addr { return &s.ends().remote }

func (s *Stream) ends() *ends {
	if e := s.addrs.Load(); e != nil {
		return e
	}
	local, remote := s.destination, s.source
	if s.dialed {
		local, remote = remote, local
	}
	e := &ends{local: *net.TCPAddrFromAddrPort(local), remote: *net.TCPAddrFromAddrPort(remote)}
	if !s.addrs.CompareAndSwap(nil, e) {
		e = s.addrs.Load()
	}
	return e
}

// Context returns a context that lives as long as the flow; its cause then says
// why the flow ended. A flow ends when both sides have finished and the last
// byte is acknowledged, or when it is reset.
func (s *Stream) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		if s.cause != nil {
			s.cancel(s.cause)
		}
	}
	return s.ctx
}

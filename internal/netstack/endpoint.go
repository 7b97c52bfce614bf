package netstack

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// Event says what may have changed at an Endpoint. Events are edges and hints:
// a false alarm is possible, a missed change is not.
type Event uint8

const (
	Readable Event = 1 << iota // bytes, EOF or an error may be read
	Writable                   // half of the send buffer is free, or an error waits
	HangUp                     // the endpoint finished or failed
)

// Notifier hears about events. Notify runs under locks of the engine, in any
// goroutine: it must only signal, and never call the Endpoint.
type Notifier interface{ Notify(Event) }

// Endpoint is one TCP endpoint of the engine. Its methods never wait and may be
// called at once by anyone, but for Peek, whose comment says what its caller
// must hold.
type Endpoint struct {
	engine        *Engine
	ep            *gtcp.Endpoint
	wq            *gwaiter.Queue
	entry         gwaiter.Entry
	local, remote netip.AddrPort
	flow          *flowSeq // what the ICMP filter may know of it

	notifier Notifier // set once by SetNotifier

	// calls is held shared during every call that can take the engine's hard
	// error, and exclusively by whoever finds the endpoint closed without one:
	// then every taker has latched what it took.
	calls sync.RWMutex
	err   atomic.Pointer[error] // the first hard error, kept for ever

	// io guards the readers' and writers' adapters below, which spare an
	// allocation per call.
	rmu sync.Mutex
	rd  sliceWriter
	wmu sync.Mutex
	wr  sliceReader

	closed atomic.Bool // Close or Abort was called

	finQueued atomic.Bool // CloseWrite was called
}

// Local returns our end: for an accepted endpoint the address the client
// dialled.
func (e *Endpoint) Local() netip.AddrPort { return e.local }

// Remote returns the peer's end.
func (e *Endpoint) Remote() netip.AddrPort { return e.remote }

// listener is an Endpoint as the engine's EventListener, which keeps the engine's
// types out of the Endpoint's own methods.
type listener Endpoint

// NotifyEvent implements gwaiter.EventListener.
func (l *listener) NotifyEvent(mask gwaiter.EventMask) {
	var ev Event
	if mask&(gwaiter.ReadableEvents|gwaiter.EventRdHUp) != 0 {
		ev |= Readable
	}
	if mask&gwaiter.WritableEvents != 0 {
		ev |= Writable
	}
	if mask&(gwaiter.EventHUp|gwaiter.EventErr) != 0 {
		ev |= HangUp | Readable | Writable
	}
	l.notifier.Notify(ev)
}

// SetNotifier tells n of every event from now on, and of all at once first, so
// that nothing that came before is missed. It must be called once only.
func (e *Endpoint) SetNotifier(n Notifier) {
	e.notifier = n
	e.entry.Init((*listener)(e), gwaiter.AllEvents)
	e.wq.EventRegister(&e.entry)
	n.Notify(Readable | Writable | HangUp)
}

// Err returns the latched hard error, or nil.
func (e *Endpoint) Err() error {
	if p := e.err.Load(); p != nil {
		return *p
	}
	return nil
}

// latch keeps the first hard error and returns the one that is kept.
func (e *Endpoint) latch(err error) error {
	e.err.CompareAndSwap(nil, &err)
	return *e.err.Load()
}

// hard tells a lasting failure of the endpoint from a passing condition.
func hard(err error) bool {
	return err != nil && !errors.Is(err, ErrWouldBlock) &&
		!errors.Is(err, errClosedForReceive) && !errors.Is(err, errClosedForSend)
}

// settle decides what "closed" means for an endpoint in whose name nobody has
// yet returned a hard error: it waits for every call that may hold one (they
// never block), then looks at the latch and at the state. orderly is the answer
// for an endpoint that did not fail.
func (e *Endpoint) settle(orderly error) error {
	e.calls.Lock()
	defer e.calls.Unlock()
	if err := e.Err(); err != nil {
		return err
	}
	if e.State() != StateError {
		return orderly
	}
	if err := translate(e.ep.LastError()); hard(err) {
		return e.latch(err)
	}
	// The engine gave its error to nobody we know of. A reset is the one
	// answer that never makes a truncated stream look complete.
	return e.latch(errReset)
}

// State returns the TCP state. It takes no lock.
func (e *Endpoint) State() State { return State(e.ep.EndpointState()) }

// FINAcked reports whether our FIN was sent and acknowledged, or the endpoint
// needs no more care because it finished or failed.
func (e *Endpoint) FINAcked() bool {
	switch e.State() {
	case StateFinWait2, StateTimeWait, StateClose, StateError:
		return true
	}
	return false
}

// ResetInCloseWait reports whether the peer reset the connection after its own
// FIN and before ours. The engine does as Linux does, where writing then gives
// EPIPE: it leaves no error behind but closes, as after an orderly end.
func (e *Endpoint) ResetInCloseWait() bool {
	return e.State() == StateClose && !e.finQueued.Load() && !e.closed.Load()
}

// Close lets the engine finish the connection in the background and frees what
// the endpoint holds. Unread input makes the engine reset the connection and
// drop its send queue: only a caller that has waited for FINAcked may call it.
func (e *Endpoint) Close() {
	if e.closed.Swap(true) {
		return
	}
	e.ep.Close()
	e.engine.forget(e)
}

// Abort resets the connection at once: what is queued either way is dropped.
func (e *Endpoint) Abort() {
	if e.closed.Swap(true) {
		return
	}
	e.latch(errAborted)
	e.ep.Abort()
	e.ep.Close()
	e.engine.forget(e)
}

// CloseWrite sends a FIN behind what was written. It is idempotent.
func (e *Endpoint) CloseWrite() error {
	e.calls.RLock()
	e.finQueued.Store(true) // before: the connection may be over by the time this returns
	err := translate(e.ep.Shutdown(gtcpip.ShutdownWrite))
	if hard(err) && e.Err() != nil {
		err = e.Err()
	}
	e.calls.RUnlock()
	return err
}

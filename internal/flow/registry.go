package flow

import (
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ID numbers the flows of one stack, from 1, in the order of their opening. It
// is never used twice.
type ID uint64

// Info is the account of a flow at one moment.
type Info struct {
	ID      ID
	Network string // "tcp" or "udp"

	// Source is the client, Destination what it dialled. For a flow dialled
	// from inside the stack Source is our own address.
	Source, Destination netip.AddrPort
	Dialed              bool // opened from inside the stack

	Opened, Ended time.Time // Ended is zero while the flow lives
	State         string    // TCP state as in RFC 9293, or "open"

	// In counts payload bytes that came from behind the packet conn, Out those
	// that were given to be sent there.
	In, Out uint64

	Cause error // why it ended; nil while it lives
}

// Duration is how long the flow has lived, or lived.
func (i Info) Duration(now time.Time) time.Duration {
	if !i.Ended.IsZero() {
		now = i.Ended
	}
	return now.Sub(i.Opened)
}

// Flow is what the registry keeps: something that can give its account and can
// be ended from outside.
type Flow interface {
	// FlowInfo returns the account as of now.
	FlowInfo() Info
	// Kill ends the flow at once with cause; nil means Killed. It may be called
	// any number of times, by anyone.
	Kill(cause error)
}

// Holder is a Flow that says what it holds of the stack's memory.
type Holder interface {
	Flow
	// Held returns what it holds now. One that cannot be ended for it holds nothing.
	Held() Held
}

// Held is what a flow holds of the stack's memory.
type Held struct {
	Own, Data int64      // bytes: of the flow by itself, and of what passes through it
	Source    netip.Addr // whose they are
	Moved     int64      // when some of the data went on, in nanoseconds by the time of the stack's budget
}

// Trace holds callbacks about flows. Each may be nil. Those of one flow come in
// the order of the fields. They are called with no
// lock held, from the goroutine in which the thing happens, and must return
// soon.
type Trace struct {
	Open      func(Info) // a flow was accepted or dialled
	Handshake func(Info) // its TCP handshake was completed
	Close     func(Info) // it ended; Info.Cause says why
}

// Registry holds the flows of one stack. All methods may be called at once.
type Registry struct {
	trace Trace
	last  atomic.Uint64

	mu    sync.Mutex
	flows map[ID]Flow
	// reporting holds the flows whose Open or Handshake is being called; those that
	// have ended meanwhile with their last account, which Close gets afterwards.
	reporting map[ID]*Info
}

// NewRegistry returns an empty registry that reports to trace.
func NewRegistry(trace Trace) *Registry {
	return &Registry{trace: trace, flows: make(map[ID]Flow), reporting: make(map[ID]*Info)}
}

// NextID returns a fresh ID.
func (r *Registry) NextID() ID { return ID(r.last.Add(1)) }

// Add puts f in under id and reports it as opened.
func (r *Registry) Add(id ID, f Flow) {
	r.mu.Lock()
	r.flows[id] = f
	r.report(id, f, r.trace.Open)
}

// Established reports the end of f's handshake, if f still lives. It is called by
// whoever called Add, after that.
func (r *Registry) Established(f Flow) {
	if r.trace.Handshake == nil {
		return
	}
	id := f.FlowInfo().ID
	r.mu.Lock()
	if _, ok := r.flows[id]; !ok {
		r.mu.Unlock()
		return
	}
	r.report(id, f, r.trace.Handshake)
}

// report calls callback, which may be nil, and only then Close if f ends meanwhile.
// The caller holds mu, which is unlocked.
func (r *Registry) report(id ID, f Flow, callback func(Info)) {
	if callback == nil {
		r.mu.Unlock()
		return
	}
	r.reporting[id] = nil
	r.mu.Unlock()
	callback(f.FlowInfo())
	r.mu.Lock()
	final := r.reporting[id]
	delete(r.reporting, id)
	r.mu.Unlock()
	if final != nil && r.trace.Close != nil {
		r.trace.Close(*final)
	}
}

// Remove takes the flow out and reports final as its last account. Only the
// first call for an ID does anything.
func (r *Registry) Remove(id ID, final Info) {
	r.mu.Lock()
	_, ok := r.flows[id]
	delete(r.flows, id)
	if _, reporting := r.reporting[id]; ok && reporting {
		r.reporting[id] = &final
		ok = false
	}
	r.mu.Unlock()
	if ok && r.trace.Close != nil {
		r.trace.Close(final)
	}
}

// Get returns the flow with this ID.
func (r *Registry) Get(id ID) (Flow, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.flows[id]
	return f, ok
}

// Len returns how many flows live.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.flows)
}

// All iterates over a snapshot of the flows, with no lock held during a step.
func (r *Registry) All() iter.Seq[Flow] {
	return func(yield func(Flow) bool) {
		r.mu.Lock()
		all := make([]Flow, 0, len(r.flows))
		for _, f := range r.flows {
			all = append(all, f)
		}
		r.mu.Unlock()
		for _, f := range all {
			if !yield(f) {
				return
			}
		}
	}
}

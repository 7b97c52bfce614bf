package tcp

import (
	"cmp"
	"net/netip"
	"sync"
	"time"

	"l3extract/internal/fifo"
	"l3extract/internal/limit"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

// answerMemory is how long a rejection that was answered is remembered: the
// client gives up at the answer, so only what was under way already may follow.
const answerMemory = time.Second

// fourTuple names a connection request.
type fourTuple struct{ src, dst netip.AddrPort }

// request is a SYN that was let in and is not yet a connection, or that was
// rejected and is remembered. In a lazy acceptor it is the pending Stream's
// handshaker.
type request struct {
	fourTuple
	table    *synTable
	acceptor *Acceptor

	// Guarded by table.mu.
	syn    []byte // the kept SYN; nil once it was answered
	isn    uint32 // its sequence number tells a retransmission from a new attempt
	state  requestState
	stream *Stream           // pending; nil in an eager acceptor
	giveUp func(cause error) // ends the handshake; set while answering
	answer answer            // how it was rejected
	err    error             // why it ended

	deadline time.Time
	node     fifo.Node[request] // on the deadlines it waits in
}

// requestState is where a request stands. It only ever moves down this list.
type requestState uint8

const (
	undecided requestState = iota // waits to be answered or rejected
	answering                     // its handshake is under way
	rejected                      // remembered, so that a retransmission is answered alike
	over                          // not in the table any more
)

// synTable holds the requests of a stack, in front of the engine, which is given
// a SYN only when it shall be answered. One timer serves them all.
//
// Undecided and answered requests are bounded by the limit on handshakes, and
// refused beyond it; remembered ones by maxRemembered, the oldest is forgotten.
//
// Lock order: mu is a leaf; nothing of the user's is called under it.
type synTable struct {
	env           *Env
	cfg           *Config
	engine        Engine
	handshakes    *limit.Table // held from the SYN to the end of its handshake
	streams       *limit.Table // held from the SYN to the end of its stream
	maxRemembered int

	sweeps  sync.WaitGroup // calls of sweep that are set for later or run
	answers sync.WaitGroup // requests in state answering

	mu         sync.Mutex
	requests   map[fourTuple]*request
	undecided  deadlines
	answering  deadlines
	answered   deadlines // rejected with RST or ICMP
	silent     deadlines // rejected without an answer
	remembered int       // requests in answered and silent
	timer      netstack.Timer
	armed      time.Time // when timer fires; zero: it is not set
	closed     bool
}

// engineLimit is when the engine gives a handshake up, without telling.
const engineLimit = 127 * time.Second

// handshakeTime is the time of one handshake; negative is the engine's own.
func handshakeTime(d time.Duration) time.Duration {
	if d < 0 {
		return engineLimit
	}
	return d
}

func newSYNTable(env *Env, cfg *Config, engine Engine, key func(netip.Addr) netip.Prefix) *synTable {
	t := &synTable{
		env: env, cfg: cfg, engine: engine,
		handshakes: limit.New(limit.Config{
			Total: cfg.MaxHandshakes, PerSource: cfg.MaxHandshakesPerSource,
			PerDestination: cfg.MaxHandshakesPerDestination,
		}, key),
		streams: limit.New(limit.Config{
			Total: cfg.MaxStreams, PerSource: cfg.MaxStreamsPerSource,
			PerDestination: cfg.MaxStreamsPerDestination,
		}, key),
		maxRemembered: cfg.MaxHandshakes,
		requests:      make(map[fourTuple]*request),
		undecided:     deadlines{wait: cfg.DecideTimeout},
		answering:     deadlines{wait: handshakeTime(cfg.HandshakeTimeout)},
		answered:      deadlines{wait: answerMemory},
		silent:        deadlines{wait: cfg.DecideTimeout},
	}
	if t.maxRemembered < 0 {
		t.maxRemembered = defaultHandshakes
	}
	return t
}

// find looks for a request that p repeats. One that is being decided or answered
// needs nothing done; one that was rejected is answered again as it was.
func (t *synTable) find(p *packet.Packet) (found, again bool, how answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.requests[fourTuple{p.SrcAddrPort(), p.DstAddrPort()}]
	if r == nil {
		return false, false, silence
	}
	switch {
	case r.state == rejected && r.isn == p.Seq:
		return true, true, r.answer
	case r.state == rejected:
		t.removeLocked(r) // the client tries anew: so do we
		return false, false, silence
	case r.state == undecided && r.isn != p.Seq && len(p.Raw) <= maxSYN:
		// The client gave up and tries anew from the same port: what is
		// answered must be its last SYN.
		r.syn, r.isn = keepSYN(p), p.Seq
	}
	return true, false, silence
}

// add puts a new request for p into the table; nil if there is one by now, or
// the table is closed.
func (t *synTable) add(a *Acceptor, p *packet.Packet) *request {
	r := &request{
		fourTuple: fourTuple{p.SrcAddrPort(), p.DstAddrPort()},
		table:     t, acceptor: a, syn: keepSYN(p), isn: p.Seq,
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.requests[r.fourTuple] != nil {
		return nil
	}
	t.requests[r.fourTuple] = r
	t.waitLocked(r, &t.undecided)
	return r
}

// begin moves r from undecided to answering.
func (t *synTable) begin(r *request) (*netstack.SYN, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.state != undecided {
		return nil, cmp.Or(r.err, errAnswering)
	}
	r.node.Remove()
	r.state = answering
	t.answers.Add(1) // until the engine's done
	t.waitLocked(r, &t.answering)
	syn := &netstack.SYN{Raw: r.syn, Source: r.src, Destination: r.dst}
	r.syn = nil
	return syn, nil
}

// waitLocked puts r on d and sees to it that sweep runs in time.
func (t *synTable) waitLocked(r *request, d *deadlines) {
	if d.wait < 0 && d != &t.silent {
		return // never expires; only what is remembered must be found by age
	}
	d.push(r, t.env.Clock.Now())
	if d.wait >= 0 {
		t.armLocked(r.deadline)
	}
}

// removeLocked takes r out of the table.
func (t *synTable) removeLocked(r *request) {
	if r.state == rejected {
		t.remembered--
	}
	r.state, r.syn, r.giveUp = over, nil, nil
	r.node.Remove()
	if t.requests[r.fourTuple] == r {
		delete(t.requests, r.fourTuple)
	}
}

// rememberLocked keeps r, which is undecided, as rejected with a.
func (t *synTable) rememberLocked(r *request, a answer) {
	for t.remembered >= t.maxRemembered {
		oldest := t.silent.requests.First()
		if oldest == nil {
			oldest = t.answered.requests.First()
		}
		t.removeLocked(oldest)
	}
	r.node.Remove()
	r.state, r.answer, r.syn, r.stream = rejected, a, nil, nil
	t.remembered++
	if a == silence {
		t.waitLocked(r, &t.silent)
	} else {
		t.waitLocked(r, &t.answered)
	}
}

// resetBy takes the undecided request that p, a RST, ends out of the table. As
// for an endpoint in SYN-RECEIVED only the very next sequence number counts
// (RFC 5961, 3.2).
func (t *synTable) resetBy(p *packet.Packet) *request {
	t.mu.Lock()
	r := t.requests[fourTuple{p.SrcAddrPort(), p.DstAddrPort()}]
	if r == nil || r.state != undecided || p.Seq != r.isn+1 {
		t.mu.Unlock()
		return nil
	}
	r.err = errClientReset
	t.removeLocked(r)
	t.mu.Unlock()
	t.handshakes.Release(r.src.Addr(), r.dst)
	return r
}

// giveUp ends the requests of an acceptor that was closed, but for those whose
// streams the application has or will get: these are its business.
func (t *synTable) giveUp(a *Acceptor) {
	t.endAll(errGivenUp, func(r *request) bool { return r.acceptor == a && r.stream == nil })
}

// close ends the table and all requests with err.
func (t *synTable) close(err error) {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil && t.timer.Stop() {
		t.sweeps.Done()
	}
	t.timer, t.armed = nil, time.Time{}
	t.mu.Unlock()
	t.endAll(err, func(*request) bool { return true })
}

// endAll ends the chosen requests with err. The clients of those that were not
// answered yet are refused; those of the others the engine resets.
func (t *synTable) endAll(err error, chosen func(*request) bool) {
	var answers []func(error)
	var dropped []*request
	var syns [][]byte
	t.mu.Lock()
	for _, r := range t.requests {
		switch {
		case !chosen(r):
		case r.state == answering:
			answers = r.toGiveUp(answers, err)
		case r.state == undecided:
			dropped, syns = append(dropped, r), append(syns, r.syn)
			fallthrough
		default:
			r.err = err
			t.removeLocked(r)
		}
	}
	t.mu.Unlock()
	for _, giveUp := range answers {
		giveUp(err)
	}
	for i, r := range dropped {
		t.handshakes.Release(r.src.Addr(), r.dst)
		t.env.sendAnswerTo(syns[i], reset)
	}
}

// toGiveUp adds what gives r's answer up. Whoever is about to answer it finds err and
// does so. The caller holds the table's mu.
func (r *request) toGiveUp(all []func(error), err error) []func(error) {
	if r.giveUp == nil {
		r.err = err
		return all
	}
	return append(all, r.giveUp)
}

// rememberedNow returns how many rejections are remembered.
func (t *synTable) rememberedNow() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remembered
}

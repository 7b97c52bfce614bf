package netstack

import (
	"context"
	"fmt"
	"syscall"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gports "gvisor.dev/gvisor/pkg/tcpip/ports"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// SYNs are answered by listening endpoints of the engine's, to which they are handed
// directly, whatever address and port they are for: a listener knows the connection from
// the SYN, not from what it is bound to. So there is one for each family and for each
// receive buffer that streams start with, two each, and nobody waits in between. The
// engine's Forwarder would cost a goroutine for the SYN and another for the handshake.

// answerer is such a listener.
type answerer struct {
	ep *gtcp.Endpoint
	wq gwaiter.Queue
}

// answererKey says whom an answerer is for.
type answererKey struct {
	v6     bool
	buffer int // initial receive buffer
}

// answer is a SYN that is being answered.
type answer struct {
	id   tuple
	p    packet.Packet
	opt  EndpointOptions
	done func(*Endpoint, error)
}

// ending is a RST that may have ended an answer.
type ending struct {
	id   tuple
	seq  uint32 // of the peer's
	ours bool   // the engine sent it: then it has, or is about to
	// until is how long an endpoint is waited for that the engine is about to end;
	// zero at first.
	until time.Time
}

// endingTime bounds that wait: the engine ends the endpoint right behind its RST.
const endingTime = 50 * time.Millisecond

const (
	// backlog is a limit that the engine must not reach: with it would come SYN
	// cookies, without window scaling and SACK. The stack's own are below.
	backlog = 1 << 30
	// doomEvery and doomTries bound the wait for an endpoint that is to be aborted: it is
	// made when the engine gets to its SYN.
	doomEvery = 10 * time.Millisecond
	doomTries = 200
)

// Answer answers syn. done is called once, with the established endpoint or with the
// reason why there is none: what giveUp said, ECONNRESET or ECONNREFUSED when the peer
// reset, EALREADY while the 4-tuple is being answered, EINVAL for a packet that is no SYN,
// ECONNABORTED when the engine ends. It may be called before Answer returns, must not
// wait, because all answers share a goroutine, and holds no lock. giveUp resets the connection unless it is
// established; the engine by itself would try for 127 s. It may be called at any time.
func (e *Engine) Answer(syn *SYN, opt EndpointOptions, done func(*Endpoint, error)) (giveUp func(cause error)) {
	a := &answer{id: tuple{syn.Destination, syn.Source}, opt: opt, done: done}
	if a.opt.ReceiveBuffer <= 0 {
		a.opt.ReceiveBuffer = e.cfg.ReceiveBuffer
	}
	giveUp = func(cause error) { e.giveUp(a, cause) }
	if a.p.Decode(syn.Raw) != drop.None || a.p.Proto != packet.TCP || a.p.Fragment || a.p.Options {
		done(nil, syscall.EINVAL)
		return giveUp
	}
	e.mu.Lock()
	var err error
	var h *answerer
	switch {
	case e.life.Err() != nil:
		err = errAborted
	case e.answers[a.id] != nil:
		err = syscall.EALREADY
	default:
		h, err = e.answererLocked(answererKey{!a.p.Dst.Is4(), a.opt.ReceiveBuffer})
	}
	if err != nil {
		e.mu.Unlock()
		if err == errAborted {
			e.reset(&a.p, nil) // given up before it began: the peer still has to know
		}
		done(nil, err)
		return giveUp
	}
	e.answers[a.id] = a
	e.answering.Store(true)
	// The endpoint that is found from now on is not the one that was given up.
	delete(e.doomed, a.id)
	e.mu.Unlock()
	pkt := newTCP(&a.p)
	e.incoming.QueuePacket(h.ep, a.id.engine(), pkt)
	pkt.DecRef()
	return giveUp
}

// queuer is the part of the engine's TCP that takes a packet for an endpoint.
type queuer interface {
	QueuePacket(ep gstack.TransportEndpoint, id gstack.TransportEndpointID, pkt *gstack.PacketBuffer)
}

// answererLocked returns the listener for k.
func (e *Engine) answererLocked(k answererKey) (*answerer, error) {
	if h := e.answerers[k]; h != nil {
		return h, nil
	}
	h := new(answerer)
	proto := gtcpip.NetworkProtocolNumber(gheader.IPv4ProtocolNumber)
	if k.v6 {
		proto = gheader.IPv6ProtocolNumber
	}
	tep, terr := e.stack.NewEndpoint(gtcp.ProtocolNumber, proto, &h.wq)
	if terr != nil {
		return nil, fmt.Errorf("netstack: listener: %w", translate(terr))
	}
	h.ep = tep.(*gtcp.Endpoint)
	h.ep.SocketOptions().SetV6Only(k.v6)
	h.ep.SocketOptions().SetReceiveBufferSize(int64(k.buffer), false)
	entry := gwaiter.NewFunctionEntry(gwaiter.ReadableEvents, func(gwaiter.EventMask) { e.greet() })
	h.wq.EventRegister(&entry)
	// No packet from outside has this for its destination: the door drops those.
	if terr = h.ep.Bind(gtcpip.FullAddress{NIC: nicID, Addr: loopbackOf(k.v6), Port: uint16(1 + len(e.answerers))}); terr == nil {
		terr = h.ep.Listen(backlog)
	}
	if terr != nil {
		h.ep.Close()
		return nil, fmt.Errorf("netstack: listener: %w", translate(terr))
	}
	e.answerers[k] = h
	if len(e.answerers) == 1 {
		e.greets.Go(e.greeter) // Close waits for it
	}
	return h, nil
}

func loopbackOf(v6 bool) gtcpip.Address {
	if v6 {
		return gheader.IPv6Loopback
	}
	return gtcpip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// greet wakes the greeter. It runs under locks of the engine.
func (e *Engine) greet() {
	select {
	case e.greeting <- struct{}{}:
	default:
	}
}

// greeter takes established connections out of the listeners, and looks after what was
// given up, until the engine ends.
func (e *Engine) greeter() {
	var again <-chan time.Time // while something is doomed
	for {
		select {
		case <-e.greeting:
		case <-again:
			again = nil
			e.abortDoomed()
		case <-e.life.Done():
			return
		}
		e.mu.Lock()
		all := e.answererList[:0]
		for _, h := range e.answerers {
			all = append(all, h)
		}
		e.answererList = all
		doomed := len(e.doomed) > 0
		e.mu.Unlock()
		for _, h := range all {
			for {
				tep, wq, terr := h.ep.Accept(nil)
				if terr != nil {
					break // none left
				}
				e.established(tep.(*gtcp.Endpoint), wq)
			}
		}
		if waits := e.endReset(); (doomed || waits) && again == nil {
			again = time.After(doomEvery)
		}
	}
}

// established gives a connection to whoever answered it.
func (e *Engine) established(tep *gtcp.Endpoint, wq *gwaiter.Queue) {
	info, _ := tep.Info().(*gstack.TransportEndpointInfo)
	id := tupleOf(info.ID)
	e.mu.Lock()
	a := e.answers[id]
	e.removeLocked(id)
	e.mu.Unlock()
	if a == nil { // given up meanwhile
		tep.Abort()
		tep.Close()
		return
	}
	e.unreserve(info)
	ep := &Endpoint{engine: e, local: id.local, remote: id.remote, wq: wq}
	a.done(e.adopt(ep, tep, a.opt), nil)
}

// unreserve gives back the reservation of a 4-tuple that the listener made, four nested
// maps and more than half a KiB, which nobody has a use for: the engine's demultiplexer
// knows the connection. That the engine gives it back again, later, does nothing.
func (e *Engine) unreserve(info *gstack.TransportEndpointInfo) {
	e.stack.ReleasePort(gports.Reservation{
		Networks: []gtcpip.NetworkProtocolNumber{info.NetProto}, Transport: gtcp.ProtocolNumber,
		Addr: info.ID.LocalAddress, Port: info.ID.LocalPort,
		Dest: gtcpip.FullAddress{Addr: info.ID.RemoteAddress, Port: info.ID.RemotePort},
	})
}

// giveUp ends a with cause, unless it has ended.
func (e *Engine) giveUp(a *answer, cause error) {
	if !e.takeAnswer(a) {
		return
	}
	flow := e.flows.get(a.id)
	e.abandon(a.id)
	e.flows.remove(a.id, flow)
	e.reset(&a.p, flow) // the engine ends a given-up handshake without a word
	a.done(nil, cause)
}

// abandon aborts the endpoint of a 4-tuple that is half-open, or will be: the engine
// panics on a segment for one whose handshake was only taken away.
func (e *Engine) abandon(id tuple) {
	if e.abortHalfOpen(id) {
		return
	}
	e.mu.Lock()
	if len(e.doomed) < maxDoomed && e.answers[id] == nil {
		e.doomed[id] = 0
	}
	e.mu.Unlock()
	e.greet() // for its timer
}

// maxDoomed bounds what is looked after: it is as much as can be given up before the
// engine has looked at the SYNs. What is beyond it the engine gives up by itself.
const maxDoomed = 1 << 12

func (e *Engine) removeLocked(id tuple) {
	delete(e.answers, id)
	if len(e.answers) == 0 {
		e.answering.Store(false)
	}
}

// takeAnswer makes the caller the one who ends a.
func (e *Engine) takeAnswer(a *answer) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.answers[a.id] != a {
		return false
	}
	e.removeLocked(a.id)
	return true
}

// abortDoomed aborts what was given up before there was an endpoint. It holds mu, so that
// no new answer of the same 4-tuple gets an endpoint meanwhile.
func (e *Engine) abortDoomed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, tries := range e.doomed {
		switch {
		case e.abortHalfOpen(id):
			delete(e.doomed, id)
			e.flows.remove(id, e.flows.get(id)) // it is one of a SYN-ACK that left late
		case tries >= doomTries:
			delete(e.doomed, id)
		default:
			e.doomed[id] = tries + 1
		}
	}
}

// abortHalfOpen aborts the endpoint of a 4-tuple that is not established yet.
func (e *Engine) abortHalfOpen(id tuple) bool {
	ep := e.halfOpen(id.engine())
	if ep == nil {
		return false
	}
	ep.Abort()
	return true
}

// halfOpen returns the endpoint that answers a request of this 4-tuple, if it is
// not established yet.
func (e *Engine) halfOpen(id gstack.TransportEndpointID) *gtcp.Endpoint {
	proto := gtcpip.NetworkProtocolNumber(gheader.IPv4ProtocolNumber)
	if id.LocalAddress.Len() != gheader.IPv4AddressSize {
		proto = gheader.IPv6ProtocolNumber
	}
	ep, _ := e.stack.FindTransportEndpoint(proto, gtcp.ProtocolNumber, id, nicID).(*gtcp.Endpoint)
	if ep == nil || State(ep.EndpointState()) != StateSynRecv {
		return nil
	}
	return ep
}

// resetSeen notes a RST of either side: it may end an answer, for which the engine has no
// event. It may run under locks of the engine.
func (e *Engine) resetSeen(r ending) {
	if !e.answering.Load() {
		return
	}
	e.endings.Lock()
	if len(e.ended) < maxEndings { // else the time of the answer ends it
		e.ended = append(e.ended, r)
	}
	e.endings.Unlock()
	e.greet()
}

// maxEndings bounds the RSTs that are looked at: a flood of them is for nobody.
const maxEndings = 1 << 12

// endReset ends the answers that resets have ended. Those that were established before
// the reset came are no answers any more. The engine takes a RST of the peer's anywhere
// in the window (RFC 9293, 3.5.3), and ends a request when it gets another SYN. waits
// says that some are to be looked at again.
func (e *Engine) endReset() (waits bool) {
	e.endings.Lock()
	all := e.ended
	e.ended = nil
	e.endings.Unlock()
	now := time.Now()
	for _, r := range all {
		if r.until.IsZero() {
			r.until = now.Add(endingTime)
		}
		e.mu.Lock()
		a := e.answers[r.id]
		e.mu.Unlock()
		switch {
		case a == nil:
			continue
		case r.ours && e.halfOpen(r.id.engine()) != nil && now.Before(r.until):
			e.endings.Lock() // the engine sends first and ends then, or it was about an earlier request
			e.ended = append(e.ended, r)
			e.endings.Unlock()
			waits = true
			continue
		case r.ours && (e.flows.get(r.id) == nil || e.halfOpen(r.id.engine()) != nil):
			continue // it was about an earlier request
		case !r.ours && r.seq-(a.p.Seq+1) >= uint32(a.opt.ReceiveBuffer):
			continue
		case !e.takeAnswer(a):
			continue
		}
		e.abandon(a.id) // if the engine did not think so
		e.flows.remove(a.id, e.flows.get(a.id))
		a.done(nil, errReset)
	}
	return waits
}

// endAnswers ends all answers because the engine does.
func (e *Engine) endAnswers() {
	e.mu.Lock()
	answers := e.answers
	e.answers = make(map[tuple]*answer)
	e.mu.Unlock()
	for _, a := range answers {
		flow := e.flows.get(a.id)
		e.flows.remove(a.id, flow)
		e.reset(&a.p, flow)
		a.done(nil, errAborted)
	}
}

// Handshake is Answer for a caller who waits, until ctx ends at most: then the error is
// its cause.
func (e *Engine) Handshake(ctx context.Context, syn *SYN, opt EndpointOptions) (*Endpoint, error) {
	type result struct {
		ep  *Endpoint
		err error
	}
	if err := context.Cause(ctx); err != nil {
		var p packet.Packet
		if p.Decode(syn.Raw) == drop.None {
			e.reset(&p, nil) // given up before it began: the peer still has to know
		}
		return nil, err
	}
	got := make(chan result, 1)
	giveUp := e.Answer(syn, opt, func(ep *Endpoint, err error) { got <- result{ep, err} })
	select {
	case r := <-got:
		return r.ep, r.err
	case <-ctx.Done():
		giveUp(context.Cause(ctx))
		r := <-got
		return r.ep, r.err
	}
}

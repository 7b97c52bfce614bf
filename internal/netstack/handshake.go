package netstack

import (
	"context"
	"math"
	"net/netip"
	"syscall"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// SYN is a connection request that was kept to be answered later. Raw is the
// whole packet and belongs to whoever holds the SYN.
type SYN struct {
	Raw                 []byte
	Source, Destination netip.AddrPort
}

// EndpointOptions are what a new endpoint starts with.
type EndpointOptions struct {
	ReceiveBuffer int // bytes; 0 is the engine's default
	SendBuffer    int // bytes; 0 is the engine's default
}

// maxInFlight is the engine's own limit on requests, beyond which it drops them
// without a word: none, because ours counts and refuses.
const maxInFlight = math.MaxInt

// abortEvery is how often the endpoint of a handshake that was given up is looked
// for until the handshake has ended: it may not be registered yet.
const abortEvery = 10 * time.Millisecond

// Handshake answers syn and waits until the connection is established. When ctx
// ends first it resets the connection and returns the context's cause; the
// engine by itself would try for 127 s. Other errors: ECONNRESET and
// ECONNREFUSED when the peer reset, ETIMEDOUT, EINVAL for a packet that is no SYN.
func (e *Engine) Handshake(ctx context.Context, syn *SYN, opt EndpointOptions) (*Endpoint, error) {
	var p packet.Packet
	if p.Decode(syn.Raw) != drop.None || p.Proto != packet.TCP || p.Fragment || p.Options {
		return nil, syscall.EINVAL
	}
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		e.reset(&p, nil) // given up before it began: the peer still has to know
		return nil, err
	}
	defer leave()
	id := tuple{syn.Destination, syn.Source}
	if !e.claim(id) {
		return nil, syscall.EALREADY // this 4-tuple is being answered already
	}
	defer e.release(id)
	req := e.request(&p, id, opt)
	if req == nil {
		return nil, syscall.EINVAL
	}
	ep := &Endpoint{engine: e, local: syn.Destination, remote: syn.Source}
	tep, terr := e.create(ctx, req, &ep.wq)
	req.Complete(false)
	if terr != nil {
		flow := e.flows.get(id)
		e.flows.remove(id, flow)
		if err := context.Cause(ctx); err != nil {
			e.reset(&p, flow) // the engine ends a given-up handshake without a word
			return nil, err
		}
		return nil, translate(terr)
	}
	return e.adopt(ep, tep, opt), nil
}

// enter counts a call in, unless the engine is closed or ctx has ended. The
// context that it returns ends with the engine, too; leave must be called.
func (e *Engine) enter(ctx context.Context) (_ context.Context, leave func(), _ error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, err
	}
	e.mu.Lock()
	if e.life.Err() != nil {
		e.mu.Unlock()
		return nil, nil, errAborted
	}
	e.calls.Add(1)
	e.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.life, func() { cancel(errAborted) })
	return ctx, func() {
		stop()
		cancel(nil)
		e.calls.Done()
	}, nil
}

// claim makes the caller the only one that answers requests of this 4-tuple,
// until release.
func (e *Engine) claim(id tuple) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, busy := e.pending[id]; busy {
		return false
	}
	e.pending[id] = make(chan *gtcp.ForwarderRequest, 1)
	return true
}

func (e *Engine) release(id tuple) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pending, id)
}

// request gives the SYN to a forwarder and takes its request out again. The
// forwarder runs its callback in a goroutine of its own, which ends at once.
func (e *Engine) request(p *packet.Packet, id tuple, opt EndpointOptions) *gtcp.ForwarderRequest {
	e.mu.Lock()
	got := e.pending[id]
	f := e.forwarderLocked(opt.ReceiveBuffer)
	e.mu.Unlock()

	pkt := newTCP(p)
	if pkt == nil {
		return nil
	}
	defer pkt.DecRef()
	if !f.HandlePacket(id.engine(), pkt) {
		return nil
	}
	return <-got // HandlePacket has started the goroutine that sends it
}

// forwarderLocked returns the forwarder whose endpoints start with this receive
// buffer. There are as many as there are sizes that streams start with: two.
func (e *Engine) forwarderLocked(buffer int) *gtcp.Forwarder {
	if buffer <= 0 {
		buffer = e.cfg.ReceiveBuffer
	}
	f := e.forwarders[buffer]
	if f == nil {
		f = gtcp.NewForwarder(e.stack, buffer, maxInFlight, e.forwarded)
		e.forwarders[buffer] = f
	}
	return f
}

// forwarded hands a request to the Handshake that waits for it.
func (e *Engine) forwarded(req *gtcp.ForwarderRequest) {
	e.mu.Lock()
	got := e.pending[tupleOf(req.ID())]
	e.mu.Unlock()
	if got == nil {
		req.Complete(false)
		return
	}
	got <- req
}

// create runs the engine's handshake, and gives it up when ctx ends.
//
// To notify wq would end it as well, but the engine then leaves the endpoint
// half-open and without a handshake for a moment, and panics on a segment that
// arrives just then. Aborted first, the endpoint is never seen so.
func (e *Engine) create(ctx context.Context, req *gtcp.ForwarderRequest, wq *gwaiter.Queue) (gtcpip.Endpoint, gtcpip.Error) {
	id := req.ID()
	done := make(chan struct{})
	gone := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(gone)
		for {
			if ep := e.halfOpen(id); ep != nil {
				ep.Abort()
			}
			select {
			case <-done:
				return
			case <-time.After(abortEvery):
			}
		}
	})
	ep, err := req.CreateEndpoint(wq)
	close(done)
	if !stop() {
		<-gone
	}
	return ep, err
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

// adopt completes ep around the engine's established endpoint.
func (e *Engine) adopt(ep *Endpoint, tep gtcpip.Endpoint, opt EndpointOptions) *Endpoint {
	ep.ep = tep.(*gtcp.Endpoint)
	ep.flow = e.flows.get(tuple{ep.local, ep.remote})
	size := opt.SendBuffer
	if size <= 0 {
		size = e.cfg.SendBuffer
	}
	ep.SetSendBuffer(size) // also ends the engine's own tuning
	return ep
}

// reset ends the request p at the peer. Whether that has our answer or not, it
// takes a reset that has both: the sequence number that follows our SYN, and an
// acknowledgement of its own. flow is nil if nothing was answered.
func (e *Engine) reset(p *packet.Packet, flow *flowSeq) {
	h := packet.TCPHeader{
		Src: p.DstAddrPort(), Dst: p.SrcAddrPort(),
		Ack: p.Seq + 1, Flags: packet.RST | packet.ACK,
	}
	if flow != nil {
		h.Seq = flow.iss.Load() + 1
	}
	e.cfg.Link.WriteControl(packet.AppendTCP(nil, h, nil))
}

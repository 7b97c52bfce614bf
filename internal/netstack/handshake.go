package netstack

import (
	"context"
	"net/netip"
	"syscall"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"

	"l3extract/internal/drop"
	"l3extract/internal/link"
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

// maxInFlight is the engine's own limit on requests: far above ours, which
// counts and refuses.
const maxInFlight = 1 << 20

// abortEvery is how often a handshake that was given up is notified until the
// engine has noticed: a single edge is lost if it comes before the engine waits.
const abortEvery = 10 * time.Millisecond

// Handshake answers syn and waits until the connection is established. When ctx
// ends first it resets the connection and returns the context's cause; the
// engine by itself would try for 127 s. Other errors: ECONNRESET and
// ECONNREFUSED when the peer reset, ETIMEDOUT, EINVAL for a packet that is no SYN.
func (e *Engine) Handshake(ctx context.Context, syn *SYN, opt EndpointOptions) (*Endpoint, error) {
	if !e.enter() {
		return nil, errAborted
	}
	defer e.calls.Done()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var p packet.Packet
	if p.Decode(syn.Raw) != drop.None || p.Proto != packet.TCP || p.Fragment || p.Options {
		return nil, syscall.EINVAL
	}
	req := e.request(&p, opt)
	if req == nil {
		return nil, syscall.EALREADY // this 4-tuple is being answered already
	}
	ep := &Endpoint{engine: e, local: syn.Destination, remote: syn.Source}
	tep, terr := create(ctx, req, &ep.wq)
	req.Complete(false)
	if terr != nil {
		e.forgetTuple(tuple{ep.local, ep.remote})
		if err := context.Cause(ctx); err != nil {
			e.reset(&p) // the engine ends a given-up handshake without a word
			return nil, err
		}
		return nil, translate(terr)
	}
	return e.adopt(ep, tep, opt), nil
}

// enter counts a call in, unless the engine is closed.
func (e *Engine) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.calls.Add(1)
	return true
}

// request gives the SYN to a forwarder and takes its request out again. The
// forwarder runs its callback in a goroutine of its own, which ends at once.
func (e *Engine) request(p *packet.Packet, opt EndpointOptions) *gtcp.ForwarderRequest {
	id := gstack.TransportEndpointID{
		LocalPort: p.DstPort, LocalAddress: addressOf(p.Dst),
		RemotePort: p.SrcPort, RemoteAddress: addressOf(p.Src),
	}
	key := tupleOf(id)
	got := make(chan *gtcp.ForwarderRequest, 1)
	e.mu.Lock()
	if _, busy := e.pending[key]; busy {
		e.mu.Unlock()
		return nil
	}
	e.pending[key] = got
	f := e.forwarderLocked(opt.ReceiveBuffer)
	e.mu.Unlock()

	pkt := newTCP(p)
	taken := pkt != nil && f.HandlePacket(id, pkt)
	if pkt != nil {
		pkt.DecRef()
	}
	var req *gtcp.ForwarderRequest
	if taken {
		req = <-got // HandlePacket has started the goroutine that sends it
	}
	e.mu.Lock()
	delete(e.pending, key)
	e.mu.Unlock()
	return req
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

// create runs the engine's handshake, and gives it up when ctx ends: a
// notification is all that the engine listens to.
func create(ctx context.Context, req *gtcp.ForwarderRequest, wq *gwaiter.Queue) (gtcpip.Endpoint, gtcpip.Error) {
	done := make(chan struct{})
	gone := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(gone)
		for {
			wq.Notify(gwaiter.WritableEvents)
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

func (e *Engine) forgetTuple(id tuple) {
	if f := e.flows.get(id); f != nil {
		e.flows.remove(id, f)
	}
}

// reset answers p with a RST.
func (e *Engine) reset(p *packet.Packet) {
	f := e.cfg.Link.Frame(packet.MaxReset)
	f.SetLen(len(packet.AppendReset(f.Bytes()[:0], p)))
	e.cfg.Link.Send(f, link.Control)
}

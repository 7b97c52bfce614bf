package netstack

import (
	"context"
	"net/netip"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

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

package netstack

import (
	"context"
	"net/netip"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// connecting hears of the end of an active handshake.
type connecting chan struct{}

func (c connecting) Notify(Event) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dial opens a connection from local to remote, both of one family; local port 0
// takes a free one. It waits for the handshake; when ctx ends first, it gives up
// and returns the context's cause. Other errors: ECONNREFUSED, EHOSTUNREACH,
// ENETUNREACH, ETIMEDOUT, EADDRINUSE, EADDRNOTAVAIL.
func (e *Engine) Dial(ctx context.Context, local, remote netip.AddrPort, opt EndpointOptions) (*Endpoint, error) {
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	ep := &Endpoint{engine: e, remote: remote, wq: new(gwaiter.Queue)}
	tep, terr := e.stack.NewEndpoint(gtcp.ProtocolNumber, protocolOf(remote.Addr()), ep.wq)
	if terr != nil {
		return nil, translate(terr)
	}
	ep.ep = tep.(*gtcp.Endpoint)
	if opt.ReceiveBuffer > 0 {
		ep.ep.SocketOptions().SetReceiveBufferSize(int64(opt.ReceiveBuffer), false)
	}
	if err := e.ports.bind(ep, local, remote); err != nil {
		ep.ep.Close()
		return nil, err
	}
	bound, terr := ep.ep.GetLocalAddress()
	if terr != nil {
		ep.ep.Close()
		return nil, translate(terr)
	}
	ep.local = netip.AddrPortFrom(local.Addr(), bound.Port)

	wake := make(connecting, 1)
	ep.SetNotifier(wake)
	err = e.connect(ctx, ep, wake)
	ep.wq.EventUnregister(&ep.entry)
	if err != nil {
		ep.ep.Abort()
		ep.ep.Close()
		id := tuple{ep.local, ep.remote}
		e.flows.remove(id, e.flows.get(id))
		return nil, err
	}
	return e.adopt(ep, ep.ep, opt), nil
}

func (e *Engine) connect(ctx context.Context, ep *Endpoint, wake connecting) error {
	if terr := ep.ep.Connect(fullAddressOf(ep.remote)); terr != nil {
		if _, started := terr.(*gtcpip.ErrConnectStarted); !started {
			return translate(terr)
		}
	}
	for {
		switch s := ep.State(); s {
		case StateSynSent, StateSynRecv, StateConnecting:
		case StateError, StateClose, StateInitial, StateBound:
			if err := translate(ep.ep.LastError()); hard(err) {
				return err
			}
			return errAborted
		default:
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

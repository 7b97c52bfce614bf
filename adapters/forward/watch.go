package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"l3extract/adapters/outbound"
)

// watch is a dial that somebody waits for, as EndVia sees it: by the sockets that are
// opened for it, to its target or to a proxy.
type watch struct {
	n       *session
	cancel  context.CancelFunc
	gone    atomic.Bool // one of the sockets has lost its way
	sockets carriers
}

// watch makes the dial of ctx known until its end is called.
func (n *session) watch(ctx *context.Context) *watch {
	w := &watch{n: n}
	*ctx, w.cancel = context.WithCancel(outbound.WithSocket(*ctx, w.sockets.add))
	n.add(w)
	return w
}

func (w *watch) end() {
	w.cancel()
	w.n.remove(w)
}

// stop implements ender: the dial's context ends with the session's, or the stream.
func (w *watch) stop(error) { w.cancel() }

// endVia implements viaer. A dial that tries several addresses ends with the first that is
// lost: the client tries again.
func (w *watch) endVia(lost func(local netip.Addr, index int) bool) bool {
	if !w.sockets.lost(lost) {
		return false
	}
	w.gone.Store(true)
	w.cancel()
	return true
}

// dialLost is err of a dial that endVia has ended.
func dialLost(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%w (%w)", errPathLost, err)}
}

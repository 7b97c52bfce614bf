package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"l3extract/adapters/outbound"
)

// watch is a dial that somebody waits for, as EndVia sees it: by the sockets that are
// opened for it, to its target or to a proxy.
type watch struct {
	n      *session
	cancel context.CancelFunc
	lost   atomic.Bool // one of the sockets has lost its way

	mu      sync.Mutex // a leaf
	sockets []syscall.RawConn
}

// watch makes the dial of ctx known until its end is called.
func (n *session) watch(ctx *context.Context) *watch {
	w := &watch{n: n}
	*ctx, w.cancel = context.WithCancel(outbound.WithSocket(*ctx, w.add))
	n.add(w)
	return w
}

func (w *watch) add(c syscall.RawConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets = append(w.sockets, c)
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
	w.mu.Lock()
	sockets := w.sockets
	w.mu.Unlock()
	for _, c := range sockets {
		var local netip.Addr
		var index int
		err := c.Control(func(fd uintptr) { local, index = localAddr(int(fd)), boundTo(int(fd)) })
		if err == nil && local.IsValid() && lost(local, index) {
			w.lost.Store(true)
			w.cancel()
			return true
		}
	}
	return false
}

// dialLost is err of a dial that endVia has ended.
func dialLost(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%w (%w)", errPathLost, err)}
}

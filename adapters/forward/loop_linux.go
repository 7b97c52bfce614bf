package forward

import (
	"context"
	"net/netip"
	"sync"

	"l3extract/internal/epoll"
)

// loop relays between streams and kernel sockets without a goroutine for any of them.
// Two goroutines serve them all:
//
//	poll    hears from the sockets; it is the one that hears from those of UDP too
//	ready   hears from the streams, through a list on which they are put
//
// Each has a buffer, which holds bytes only within one look at a pair. Whoever comes
// second to one direction of a pair waits for the first, who waits for nothing.
type loop struct {
	n      *session
	poller *epoll.Poller   // the session's
	ctx    context.Context // of the loop itself, which outlives all pairs
	end    context.CancelFunc
	runs   sync.WaitGroup // ready, and unstall while it is needed; close waits for them

	wake chan struct{} // holds one wake-up of ready

	mu         sync.Mutex // a leaf; guards the list of ready pairs
	head, tail *pair

	dials dials

	stall sync.Mutex // a leaf; guards the pairs that wait for the packet conn
	waits []*pair

	buffers [2]*relayBuffer // of poll and of ready
}

// relayBuffer is what one read from a socket takes at most: large reads make the
// engine's segments large. 64 KiB halves the rate downwards, 256 KiB costs a tenth of it
// with one stream and half with eight. Reading straight into the engine's memory, which
// comes in pieces of 64 KiB, spares a copy and still costs a tenth and a third: each
// read takes the socket's lock and answers its peer.
type relayBuffer [1 << 20]byte

// Whose buffer.
const (
	ofPoll = iota
	ofReady
)

// share is what one direction of one pair may move before others have their turn.
const share = 4 << 20

// newLoop starts a loop, or returns nil where epoll cannot be had.
func newLoop(n *session) *loop {
	p := n.upstreams.loop()
	if p == nil {
		n.log.Warn("no event loop: each connection gets two goroutines")
		return nil
	}
	l := &loop{n: n, poller: p, wake: make(chan struct{}, 1)}
	l.ctx, l.end = context.WithCancel(context.Background())
	l.dials.init(n.dialTimeout)
	for i := range l.buffers {
		l.buffers[i] = new(relayBuffer)
	}
	l.runs.Go(l.ready)
	return l
}

// close ends the loop, which serves no pair any more, and waits for its goroutines.
func (l *loop) close() {
	l.dials.close()
	l.end()
	l.runs.Wait()
}

// connects tells whether a socket with the local address src is being connected to dst.
func (l *loop) connects(src, dst netip.AddrPort) bool { return l.dials.from(src, dst) }

// push puts p on the list. It may run under locks of the engine.
func (l *loop) push(p *pair) {
	l.mu.Lock()
	first := l.head == nil
	if first {
		l.head = p
	} else {
		l.tail.next = p
	}
	l.tail = p
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// ready serves the pairs on the list until the loop ends.
func (l *loop) ready() {
	for {
		l.mu.Lock()
		p := l.head
		l.head, l.tail = nil, nil
		l.mu.Unlock()
		if p == nil {
			select {
			case <-l.wake:
			case <-l.ctx.Done():
				return
			}
		}
		for p != nil {
			next := p.next
			p.next = nil
			p.handle(p.bits.Swap(0)) // from here on it may be on the list again
			p = next
		}
	}
}

// stalled keeps p until the packet conn takes more, which wait tells.
func (l *loop) stalled(p *pair, wait <-chan struct{}) {
	l.stall.Lock()
	defer l.stall.Unlock()
	if p.stalled {
		return // a new edge of its socket had another look taken
	}
	p.stalled = true
	l.waits = append(l.waits, p)
	if len(l.waits) > 1 {
		return
	}
	l.runs.Go(func() { // unstall; close waits for it
		select {
		case <-wait:
		case <-l.ctx.Done():
		}
		l.stall.Lock()
		waits := l.waits
		l.waits = nil
		for _, p := range waits {
			p.stalled = false
		}
		l.stall.Unlock()
		for _, p := range waits {
			p.post(canDown)
		}
	})
}

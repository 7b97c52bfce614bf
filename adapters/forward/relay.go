package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/internal/flow"
	"l3extract/stack"
	"l3extract/tcp"
)

// stream serves one stream from its SYN to its end. If look is set it answers the SYN at
// once, to look at what the client says first.
func (n *session) stream(ctx context.Context, st *tcp.Stream, f outbound.Flow, look bool) {
	if look {
		if err := st.Handshake(ctx); err != nil {
			return // the client went away; the stack knows the cause
		}
		f.Name = n.firstName(ctx, st)
	}
	t, err := n.routeStream(ctx, st, f)
	if err != nil {
		n.refuse(st, err)
		return
	}
	n.serveStream(ctx, st, f, t)
}

// serveStream serves st, which goes to t.
func (n *session) serveStream(ctx context.Context, st *tcp.Stream, f outbound.Flow, t Target) {
	if t.Optimistic {
		(*tcp.Driven)(st).Answer()
	}
	if n.loop != nil && n.loop.take(ctx, st, f, &t) {
		return
	}
	up, err := n.upstream(ctx, st, f, &t)
	if err != nil {
		n.refuse(st, err)
		return
	}
	if n.loop != nil && n.loop.adopt(st, up) {
		return
	}
	if err := st.Handshake(ctx); err != nil {
		_ = up.Close() // the client went away; the stack knows the cause
		return
	}
	n.relay(st, up)
}

// flowOf is what is known of st.
func flowOf(st *tcp.Stream) outbound.Flow {
	return outbound.Flow{Network: "tcp", Source: st.Source(), Destination: st.Destination()}
}

// routeStream is route for a stream, which is waited for.
func (n *session) routeStream(ctx context.Context, st *tcp.Stream, f outbound.Flow) (Target, error) {
	ctx, cancel := n.flowContext(ctx, f)
	defer cancel()
	defer context.AfterFunc(st.Context(), cancel)()
	return n.route(ctx, f)
}

// refuse tells a client that its stream cannot be served.
func (n *session) refuse(st *tcp.Stream, err error) {
	n.log.Debug("stream refused", "source", st.Source(), "destination", st.Destination(), "err", err)
	if st.Reject(err) != nil { // its handshake is done, or it has ended by itself
		_ = st.ResetCause(err)
	}
}

// relay joins a stream with its upstream. Each direction has a goroutine, in
// which it waits, holding nothing, for what is to be passed on.
type relay struct {
	st *tcp.Stream
	up net.Conn

	activity
}

// relay passes everything on until both directions have ended.
func (n *session) relay(st *tcp.Stream, up net.Conn) {
	r := &relay{st: st, up: up}
	n.stats.relays.Add(1)
	defer n.stats.relays.Add(-1)

	// A reset, a Kill, an idle timeout: neither direction notices while it waits
	// for the upstream.
	told := make(chan struct{})
	watch := context.AfterFunc(st.Context(), func() {
		defer close(told)
		if context.Cause(st.Context()) != error(stack.Closed) {
			r.abort()
		}
	})
	n.add(r)

	down := make(chan struct{})
	go func() { // upstream to client; awaited below
		defer close(down)
		r.downwards()
	}()
	lost := r.upwards()
	<-down
	if lost != nil {
		r.reset(lost)
	}
	_ = st.Close() // what is still in flight is the stack's business
	_ = up.Close()

	n.remove(r)
	if !watch() {
		<-told
	}
}

// upwards passes on what the client sends, and its end. It returns the error
// with which the upstream refused to take it.
func (r *relay) upwards() error {
	_, err := r.st.WriteTo(r.up)
	r.half.Store(true)
	switch {
	case err == nil:
		if c, ok := r.up.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite() // fails if the upstream has gone, which the other direction finds out
		}
	case r.ours(err):
		r.clientGone(err)
	default:
		// The upstream may have said something before it went: that is passed on
		// first.
		_ = r.st.CloseRead()
		return err
	}
	return nil
}

// downwards passes on what the upstream sends, and its end.
func (r *relay) downwards() {
	_, err := r.st.ReadFrom(r.up)
	r.half.Store(true)
	switch {
	case err == nil:
		_ = r.st.CloseWrite() // fails if the stream has ended, which the other direction finds out
	case r.ours(err):
		r.clientGone(err)
	default:
		r.reset(err)
		r.abort() // its other direction may wait
	}
}

// ours tells errors of the stream from those of the upstream.
func (r *relay) ours(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Source == r.st.LocalAddr() // a pointer that nobody else has
}

// clientGone ends both ends after an error of the stream.
func (r *relay) clientGone(err error) {
	_ = r.st.ResetCause(flow.CauseOf(err))
	r.abort()
}

// reset gives an error of the upstream to the client, behind the bytes that came
// before it.
func (r *relay) reset(err error) {
	if r.st.Context().Err() != nil {
		return // the error is only that abort closed the upstream
	}
	settle(r.st)
	_ = r.st.ResetCause(upstreamCause(err))
}

// upstreamCause is why a flow ends whose upstream failed with err.
func upstreamCause(err error) error {
	cause := stack.ResetByUpstream
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" { // of an EarlyDialer
		cause = stack.DialFailed
	} else if errors.Is(err, syscall.ETIMEDOUT) || systemErrno(err) == syscall.ETIMEDOUT {
		cause = stack.TimedOut
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// settled reports whether the client has acknowledged everything.
func settled(st *tcp.Stream) bool {
	i := st.Info()
	return i.Unsent+i.Unacked == 0
}

// settle waits until that is so, or for a second: a reset throws away what is on its
// way, and servers that reset after their last word are common.
func settle(st *tcp.Stream) {
	limit := time.NewTimer(settleTime)
	defer limit.Stop()
	for pause := time.Millisecond; ; pause *= 2 {
		if settled(st) {
			return
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-limit.C:
			again.Stop()
			return
		case <-st.Context().Done():
			again.Stop()
			return
		}
	}
}

const settleTime = time.Second

// abort closes the upstream with a RST if it can, and at any rate now.
func (r *relay) abort() {
	if l, ok := r.up.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = r.up.Close()
}

// stop implements ender: watch in session.relay does the rest.
func (r *relay) stop(cause error) { _ = r.st.ResetCause(cause) }

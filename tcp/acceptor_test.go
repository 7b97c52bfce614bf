package tcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

// establishing makes every handshake succeed at once, with streams that have no
// endpoint.
func (r *synRig) establishing() *synRig {
	r.engine.reply = func(context.Context, *netstack.SYN) (*netstack.Endpoint, error) { return nil, nil }
	r.table.newStream = func(_ *netstack.Endpoint, q *request) *Stream {
		s := r.table.ownStream(q)
		s.pending = &pending{hs: q, done: make(chan struct{})} // so that it can be ended
		r.flows.Add(s.id, s)
		return s
	}
	return r
}

func wantOpError(t *testing.T, err error, addr string, targets ...error) {
	t.Helper()
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "accept" || op.Net != "tcp" || op.Addr.String() != addr {
		t.Fatalf("not an accept error at %s: %#v", addr, err)
	}
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("%v does not match %v", err, target)
		}
	}
}

func TestAddr(t *testing.T) {
	a := newSYNRig(t, Config{}).table.Acceptor()
	if a.Addr().Network() != "tcp" || a.Addr().String() != "any:0" {
		t.Errorf("%s %s", a.Addr().Network(), a.Addr())
	}
}

func TestAcceptEstablished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{}).establishing()
		a := r.listen()
		for i := range 3 {
			r.table.HandleSYN(syn(from("10.0.0.1", i), server, 1))
			synctest.Wait() // in order
		}
		r.held(0, 3, 3)
		c, err := a.Accept()
		if err != nil || c.RemoteAddr().String() != from("10.0.0.1", 0).String() || c.LocalAddr().String() != server.String() {
			t.Fatalf("accepted %v, %v", c, err)
		}
		s, err := a.AcceptStream(t.Context())
		if err != nil || s.Source() != from("10.0.0.1", 1) || s.Destination() != server {
			t.Fatalf("accepted %v, %v", s, err)
		}
		if s := <-a.Streams(); s.Source() != from("10.0.0.1", 2) {
			t.Fatalf("accepted %v", s.Source())
		}
		r.held(0, 3, 0)
		if r.flows.Len() != 3 {
			t.Errorf("%d flows", r.flows.Len())
		}
		for f := range r.flows.All() {
			f.Kill(nil)
		}
		r.held(0, 0, 0)
		r.table.Close(flow.Shutdown)
	})
}

func TestQueueIsReservedBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{AcceptQueue: 2}).establishing()
		a := r.listen()
		for i := range 5 {
			r.table.HandleSYN(syn(from("10.0.0.1", i), server, 1))
			synctest.Wait()
		}
		if n := len(r.engine.answered()); n != 2 {
			t.Errorf("%d answered", n)
		}
		r.counted(drop.SYNQueueFull, 3)
		r.held(0, 2, 2)
		if _, err := a.Accept(); err != nil {
			t.Fatal(err)
		}
		r.table.HandleSYN(syn(from("10.0.0.1", 9), server, 1))
		synctest.Wait()
		r.held(0, 3, 2)
		r.table.Close(flow.Shutdown)
		r.counted(drop.AcceptorClosed, 2)
		r.held(0, 1, 0) // the accepted one is the application's
	})
}

func TestAcceptStreamObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newSYNRig(t, Config{}).table.Acceptor()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := a.AcceptStream(ctx)
		wantOpError(t, err, "any:0", context.Canceled)
		if err.(net.Error).Timeout() {
			t.Error("a time-out")
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.AcceptStream(ctx)
		wantOpError(t, err, "any:0", context.DeadlineExceeded)
		if !err.(net.Error).Timeout() {
			t.Error("no time-out")
		}
		a.table.Close(nil)
	})
}

// TestLazyAccept sees to it that Accept answers SYNs by itself, in the
// background, and that a SYN that nobody completes does not reach it.
func TestLazyAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.table.Acceptor()
		accepted := make(chan error)
		go func() { _, err := a.Accept(); accepted <- err }() // awaited below
		synctest.Wait()
		for i := range 30 {
			r.table.HandleSYN(syn(from("10.0.0.1", i), server, 1))
		}
		synctest.Wait()
		if n := len(r.engine.answered()); n != 30 {
			t.Errorf("%d answered", n)
		}
		r.held(30, 30, 30)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		r.held(0, 0, 0)
		r.counted(drop.HandshakeTimeout, 30)
		select {
		case err := <-accepted:
			t.Errorf("Accept returned: %v", err)
		default:
		}
		r.table.Close(nil)
		wantOpError(t, <-accepted, "any:0", net.ErrClosed)
	})
}

// TestEverythingAtOnce has readers, deciders and closers meet; the account must
// hold and nobody may hang.
func TestEverythingAtOnce(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		cfg := Config{
			LazyHandshake: lazy, AcceptQueue: 64, MaxHandshakes: 64, MaxStreams: 200,
			HandshakeTimeout: 2 * time.Millisecond, DecideTimeout: 3 * time.Millisecond,
		}
		r := newSYNRig(t, cfg).establishing()
		r.engine.reply = func(ctx context.Context, syn *netstack.SYN) (*netstack.Endpoint, error) {
			switch {
			case syn.Source.Port()%3 == 0:
				<-ctx.Done()
				return nil, context.Cause(ctx)
			case lazy || syn.Source.Port()%3 == 1:
				return nil, syscall.ECONNREFUSED
			}
			return nil, nil
		}
		a := r.listen()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { // ends with the acceptor
				for {
					s, err := a.AcceptStream(context.Background())
					if err != nil {
						return
					}
					switch {
					case s.Source().Port()%4 == 0:
						_ = s.Reject(syscall.EHOSTUNREACH)
					case s.Source().Port()%4 == 1:
						_ = s.Handshake(context.Background())
					case s.Source().Port()%4 == 2:
						_ = s.Close()
					}
				}
			})
		}
		wg.Go(func() { // ends with the acceptor
			for s := range a.Streams() {
				s.Kill(nil)
			}
		})
		var readers sync.WaitGroup
		for g := range 2 {
			readers.Go(func() { // ends by itself
				rnd := rand.New(rand.NewPCG(uint64(g), 7))
				for range 3000 {
					r.table.HandleSYN(syn(from("10.0.0.1", rnd.IntN(300)), server, uint32(rnd.IntN(2))))
				}
			})
		}
		readers.Wait()
		_ = a.Close()
		wg.Wait()
		r.table.Close(flow.Shutdown)
		for f := range r.flows.All() {
			f.Kill(nil)
		}
		r.held(0, 0, 0)
		if n := r.requests(); n != 0 {
			t.Errorf("%d requests left", n)
		}
	}
}

func TestRetransmissionAllocatesNothing(t *testing.T) {
	r := newSYNRig(t, Config{LazyHandshake: true})
	r.listen()
	p := syn(clientA, server, 1)
	r.table.HandleSYN(p)
	if n := testing.AllocsPerRun(100, func() { r.table.HandleSYN(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

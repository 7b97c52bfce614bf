package tcp

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

func TestCloseEndsAccepting(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newSYNRig(t, Config{LazyHandshake: lazy}).establishing()
			a := r.table.Acceptor()
			errs := make(chan error)
			for range 2 {
				go func() { _, err := a.Accept(); errs <- err }()                           // awaited below
				go func() { _, err := a.AcceptStream(context.Background()); errs <- err }() // awaited below
			}
			streams := a.Streams()
			synctest.Wait()
			for range 2 {
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			}
			for range 4 {
				wantOpError(t, <-errs, "any:0", net.ErrClosed)
			}
			if _, open := <-streams; open {
				t.Error("a stream came out")
			}
			if _, open := <-a.Streams(); open {
				t.Error("a stream came out")
			}
			_, err := a.Accept()
			wantOpError(t, err, "any:0", net.ErrClosed)
			if r.table.HandleSYN(syn(clientA, server, 1)) {
				t.Error("a closed acceptor takes SYNs")
			}
			r.held(0, 0, 0)
			r.table.Close(nil)
		})
	}
}

func TestStreamsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newSYNRig(t, Config{}).table.Acceptor()
		_ = a.Close()
		if _, open := <-a.Streams(); open {
			t.Error("a stream came out")
		}
		a.table.Close(nil)
	})
}

// TestCloseResetsWhatWaits leaves streams in the queue, in the hand of the
// goroutine behind Streams, and in their handshakes.
func TestCloseResetsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{}).establishing()
		reply := r.engine.reply
		r.engine.reply = func(ctx context.Context, syn *netstack.SYN) (*netstack.Endpoint, error) {
			if syn.Source == clientB {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return reply(ctx, syn)
		}
		a := r.table.Acceptor()
		taken := make(chan *Stream)
		go func() { s, _ := a.AcceptStream(context.Background()); taken <- s }() // awaited below
		synctest.Wait()
		r.table.HandleSYN(syn(clientA, server, 1))
		mine := <-taken
		a.Streams()
		for i := range 3 {
			r.table.HandleSYN(syn(from("10.0.0.3", i), server, 1))
		}
		r.table.HandleSYN(syn(clientB, server, 1))
		synctest.Wait()
		r.held(1, 5, 3)
		_ = a.Close()
		synctest.Wait()
		r.held(0, 1, 0)
		r.counted(drop.AcceptorClosed, 3)
		r.counted(drop.Rejected, 1) // the handshake
		if mine.FlowInfo().Cause != nil {
			t.Errorf("the accepted stream ended: %v", mine.FlowInfo().Cause)
		}
		mine.Kill(nil)
		r.held(0, 0, 0)
		r.table.Close(nil)
	})
}

func TestCloseRejectsWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		p := syn(clientA, server, 1)
		r.table.HandleSYN(p)
		s, _ := a.AcceptStream(t.Context())
		q := syn(clientB, server, 1)
		r.table.HandleSYN(q)
		_ = a.Close()
		if got := r.answerSent(q); got != reset {
			t.Errorf("answer %d", got)
		}
		r.counted(drop.AcceptorClosed, 1)
		r.held(1, 1, 0)
		// What the application has is its business.
		if err := s.Reject(nil); err != nil {
			t.Error(err)
		}
		if got := r.answerSent(p); got != reset {
			t.Errorf("answer %d", got)
		}
		r.held(0, 0, 0)
		r.table.Close(nil)
	})
}

func TestStackEnd(t *testing.T) {
	broken := errors.New("the wire was cut")
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.table.Acceptor()
		l, err := r.table.Listen(server)
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		go func() { _, err := a.Accept(); errs <- err }() // awaited below
		synctest.Wait()
		r.table.Close(broken)
		r.table.Close(broken)
		wantOpError(t, <-errs, "any:0", net.ErrClosed, broken)
		_, err = l.Accept()
		wantOpError(t, err, server.String(), net.ErrClosed, broken)
		if _, err := r.table.Listen(server); !errors.Is(err, net.ErrClosed) || !errors.Is(err, broken) {
			t.Errorf("Listen: %v", err)
		}
	})
}

func TestStackEndRefusesWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		p := syn(clientA, server, 1)
		r.table.HandleSYN(p)
		s, _ := a.AcceptStream(t.Context())
		r.table.Close(flow.Shutdown)
		if got := r.answerSent(p); got != reset {
			t.Errorf("answer %d", got)
		}
		if err := s.Handshake(t.Context()); !errors.Is(err, net.ErrClosed) || !errors.Is(err, flow.Shutdown) {
			t.Errorf("Handshake: %v", err)
		}
		r.held(0, 0, 0)
	})
}

func TestStackEndEndsHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{})
		r.listen()
		for i := range 20 {
			r.table.HandleSYN(syn(from("10.0.0.1", i), server, 1))
		}
		synctest.Wait()
		r.held(20, 20, 20)
		r.table.Close(flow.Shutdown)
		r.held(0, 0, 0)
		r.counted(drop.Closed, 20)
		if r.table.HandleSYN(syn(clientA, server, 1)) {
			t.Error("taken after the end")
		}
	})
}

// TestSYNDuringTheEnd has SYNs arrive between the steps of Table.Close.
func TestSYNDuringTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{})
		r.listen()
		r.table.syns.close(net.ErrClosed)
		r.table.HandleSYN(syn(clientA, server, 1))
		r.held(0, 0, 0)
		r.table.Close(nil)
	})
}

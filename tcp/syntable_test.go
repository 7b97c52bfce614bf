package tcp

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

func TestRetransmissionFindsItsRequest(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newSYNRig(t, Config{LazyHandshake: lazy})
			r.listen()
			for range 3 {
				if !r.table.HandleSYN(syn(clientA, server, 1)) {
					t.Fatal("nobody listens")
				}
				synctest.Wait()
			}
			r.held(1, 1, 1)
			want := 1
			if lazy {
				want = 0
			}
			if n := len(r.engine.answered()); n != want {
				t.Errorf("lazy %v: answered %d times, want %d", lazy, n, want)
			}
			if r.drops.Total() != 0 || len(r.sent.take()) != 0 {
				t.Errorf("dropped: %v", r.drops.Snapshot())
			}
			r.table.Close(flow.Shutdown)
		})
	}
}

func TestHandshakeTimeoutGivesEverythingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{})
		r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		time.Sleep(5 * time.Second)
		r.table.HandleSYN(syn(clientB, server, 1))
		time.Sleep(5*time.Second - time.Millisecond)
		r.held(2, 2, 2)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		r.held(1, 1, 1)
		r.counted(drop.HandshakeTimeout, 1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.held(0, 0, 0)
		r.counted(drop.HandshakeTimeout, 2)
		if r.flows.Len() != 0 {
			t.Error("a stream was made")
		}
		// The same client may try again.
		r.table.HandleSYN(syn(clientA, server, 9))
		synctest.Wait()
		r.held(1, 1, 1)
		if n := len(r.engine.answered()); n != 3 {
			t.Errorf("answered %d times, want 3", n)
		}
		r.table.Close(flow.Shutdown)
	})
}

// TestNoHandshakeTimeout: without a time-out it is the engine's own, which it does not
// tell of.
func TestNoHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{HandshakeTimeout: -1})
		r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		time.Sleep(engineLimit - 1)
		synctest.Wait()
		r.held(1, 1, 1)
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		r.held(0, 0, 0)
		r.counted(drop.HandshakeTimeout, 1)
	})
}

func TestHandshakeFailureIsCounted(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want drop.Cause
	}{
		{syscall.ECONNREFUSED, drop.HandshakeFailed},
		{syscall.ECONNRESET, drop.HandshakeFailed},
		{net.ErrClosed, drop.Closed},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newSYNRig(t, Config{})
			r.engine.reply = func(context.Context, *netstack.SYN) (*netstack.Endpoint, error) { return nil, tc.err }
			r.listen()
			r.table.HandleSYN(syn(clientA, server, 1))
			synctest.Wait()
			r.counted(tc.want, 1)
			r.held(0, 0, 0)
			r.table.Close(flow.Shutdown)
		})
	}
}

func TestUndecidedForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		s, err := a.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.held(1, 1, 0)
		time.Sleep(30*time.Second - time.Millisecond)
		synctest.Wait()
		r.held(1, 1, 0)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		r.held(0, 0, 0)
		r.counted(drop.DecideTimeout, 1)
		if err := s.Handshake(t.Context()); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("Handshake: %v", err)
		}
		if got := s.FlowInfo().Cause; got != flow.TimedOut {
			t.Errorf("cause %v", got)
		}
		if len(r.sent.take()) != 0 {
			t.Error("the client was answered")
		}
		r.table.Close(flow.Shutdown)
	})
}

// TestUndecidedInTheQueue lets a stream expire that nobody accepted: nobody gets
// it later.
func TestUndecidedInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		time.Sleep(31 * time.Second)
		r.table.HandleSYN(syn(clientB, server, 1))
		s, err := a.AcceptStream(t.Context())
		if err != nil || s.Source() != clientB {
			t.Fatalf("accepted %v, %v", s.Source(), err)
		}
		r.held(1, 1, 0)
		r.table.Close(flow.Shutdown)
	})
}

func TestNoDecideTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true, DecideTimeout: -1, MaxHandshakes: 4})
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		time.Sleep(24 * time.Hour)
		r.held(1, 1, 1)
		// Silent rejections are remembered as long as there is room.
		s, _ := a.AcceptStream(t.Context())
		_ = s.Reject(syscall.ETIMEDOUT)
		time.Sleep(24 * time.Hour)
		r.table.HandleSYN(syn(clientA, server, 1))
		r.counted(drop.RejectedAgain, 1)
		r.table.Close(flow.Shutdown)
	})
}

// TestNewAttemptReplacesTheSYN checks that the last SYN of a client is answered,
// and that the table keeps copies.
func TestNewAttemptReplacesTheSYN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		for seq := range uint32(3) {
			p := syn(clientA, server, seq)
			r.table.HandleSYN(p)
			clear(p.Raw)
		}
		s, _ := a.AcceptStream(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Handshake(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Handshake: %v", err)
		}
		syns := r.engine.answered()
		if len(syns) != 1 || syns[0].Source != clientA || syns[0].Destination != server {
			t.Fatalf("answered %v", syns)
		}
		var p packet.Packet
		if c := p.Decode(syns[0].Raw); c != drop.None || !p.ChecksumOK() || p.Seq != 2 {
			t.Errorf("answered %v, seq %d", c, p.Seq)
		}
		r.held(0, 0, 0)
		r.counted(drop.HandshakeFailed, 1)
		r.table.Close(flow.Shutdown)
	})
}

func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 7))
		s, _ := a.AcceptStream(t.Context())
		rst := func(seq uint32, flags uint8) *packet.Packet {
			return segment(packet.TCPHeader{Src: clientA, Dst: server, Seq: seq, Flags: flags}, nil)
		}
		for _, p := range []*packet.Packet{rst(7, packet.RST), rst(9, packet.RST), rst(8, packet.ACK)} {
			if r.table.HandleStray(p) {
				t.Errorf("taken: seq %d flags %#x", p.Seq, p.Flags)
			}
		}
		if !r.table.HandleStray(rst(8, packet.RST)) {
			t.Error("the reset was not taken")
		}
		r.held(0, 0, 0)
		if err := s.Handshake(t.Context()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Handshake: %v", err)
		}
		r.counted(drop.HandshakeFailed, 1)
		r.table.Close(flow.Shutdown)
	})
}

func TestMemoryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		full := budget.New(16 << 10)
		r.table.env.Budget = full
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		if got := full.Snapshot(); got.Flow != budget.StreamCost || got.Used != got.Flow {
			t.Errorf("held for a stream that is to be decided: %+v", got)
		}
		full.Hold(budget.Datagram, 16<<10)
		p := syn(clientB, server, 1)
		r.table.HandleSYN(p)
		if got := r.answerSent(p); got != silence {
			t.Errorf("answer %v", got)
		}
		r.counted(drop.MemoryLimit, 1)
		r.held(1, 1, 1)
		s, _ := a.AcceptStream(t.Context())
		_ = s.Reject(nil)
		r.held(0, 0, 0)
		if got := full.Snapshot().Flow; got != 0 {
			t.Errorf("%d bytes of flows left", got)
		}
		r.table.Close(flow.Shutdown)
	})
}

// TestBeginDuringClose: a handshake that begins while the table is being closed
// must not set a timer that the end then waits for.
func TestBeginDuringClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		syns := r.table.syns
		syns.mu.Lock() // the first half of close
		syns.closed = true
		if syns.timer.Stop() {
			syns.sweeps.Done()
		}
		syns.timer, syns.armed = nil, time.Time{}
		var late *request
		for _, late = range syns.requests {
		}
		syns.mu.Unlock()
		ended := make(chan error, 1)
		late.Answer(func(_ *netstack.Endpoint, err error) { ended <- err })
		if syns.timer != nil {
			t.Error("a timer was set after close had stopped all")
		}
		r.table.Close(flow.Shutdown)
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the answer ended with %v", err)
		}
	})
}

package udp

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

func TestAcceptSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[0]
		r := newRig(t, Config{})
		a := r.Acceptor()
		if got := a.Addr(); got.String() != "any:0" || got.Network() != "udp" {
			t.Errorf("Addr = %v", got)
		}
		// A call that waits gets the next Socket.
		got := make(chan *Socket)
		go func() { // ends with its AcceptSocket
			s, err := a.AcceptSocket(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
		synctest.Wait()
		r.receive(f.client, f.server, "x")
		if s := <-got; s.Source() != f.client {
			t.Errorf("accepted %v", s.Source())
		}
		// Contexts end it with their cause.
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		cancel(why)
		wantAcceptError(t, a, ctx, why, false)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		wantAcceptError(t, a, ctx, context.DeadlineExceeded, true)
		// A Socket that ended while it waited is passed over.
		r.receive(f.other, f.server, "x")
		time.Sleep(time.Hour)
		r.receive(f.stranger, f.server, "x")
		if s, err := a.AcceptSocket(t.Context()); err != nil || s.Source() != f.stranger {
			t.Errorf("accepted %v, %v", s, err)
		}
	})
}

func wantAcceptError(t *testing.T, a *Acceptor, ctx context.Context, want error, timeout bool) {
	t.Helper()
	_, err := a.AcceptSocket(ctx)
	var op *net.OpError
	if !errors.Is(err, want) || !errors.As(err, &op) || op.Op != "accept" || op.Timeout() != timeout {
		t.Errorf("AcceptSocket = %v, want %v", err, want)
	}
}

// Close ends accepting and that only: what waits is refused, what was accepted
// lives, who waits is told.
func TestAcceptorClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[0]
		r := newRig(t, Config{})
		a := r.Acceptor()
		lives := r.opened(f.client, f.server)
		r.receive(f.other, f.server, "x")
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if e, ok := packet.ParseICMPError(r.sent()); !ok || e.Src != f.other {
			t.Errorf("refused %+v", e)
		}
		r.wantDrops(drop.UDPRefused, 1)
		if _, ok := <-a.Sockets(); ok {
			t.Error("the channel is open")
		}
		wantAcceptError(t, a, t.Context(), net.ErrClosed, false)
		if _, err := lives.ReadMsg(make([]byte, 9)); err != nil {
			t.Error(err)
		}
		r.receive(f.client, f.server, "goes on")
		if _, err := lives.ReadMsg(make([]byte, 9)); err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAcceptorCloseUnblocks(t *testing.T) {
	for _, end := range []func(r *rig) error{
		func(r *rig) error { r.Acceptor().Close(); return net.ErrClosed },
		func(r *rig) error { r.Close(flow.ConnFailed); return flow.ConnFailed },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Config{})
			got := make(chan error)
			go func() { // ends with its AcceptSocket
				_, err := r.Acceptor().AcceptSocket(t.Context())
				got <- err
			}()
			synctest.Wait()
			want := end(r)
			if err := <-got; !errors.Is(err, want) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("AcceptSocket = %v, want %v", err, want)
			}
		})
	}
}

// A full accept queue drops and counts, and takes again when there is room.
func TestAcceptQueue(t *testing.T) {
	r := newRig(t, Config{AcceptQueue: 2})
	for i := range 5 {
		r.receive(clientAt(i, 1), families[0].server, "x")
	}
	r.wantDrops(drop.UDPAcceptQueueFull, 3)
	if n := len(r.out.take()); n != 0 {
		t.Errorf("%d answers", n)
	}
	if got := r.Stats(); got.Sockets != 2 || got.Waiting != 2 {
		t.Errorf("%+v", got)
	}
	r.accept()
	r.receive(clientAt(4, 1), families[0].server, "x")
	if got := r.Stats(); got.Sockets != 3 || got.Waiting != 2 {
		t.Errorf("%+v", got)
	}
}

// TestEnds: what calls find after each way in which a Socket can end.
func TestEnds(t *testing.T) {
	mine := errors.New("mine")
	for _, tc := range []struct {
		name  string
		end   func(r *rig, s *Socket)
		cause error // beside net.ErrClosed
		flow  flow.Cause
	}{
		{"Close", func(_ *rig, s *Socket) { s.Close() }, net.ErrClosed, flow.Closed},
		{"Kill", func(_ *rig, s *Socket) { s.Kill(nil) }, flow.Killed, flow.Killed},
		{"Kill with a cause", func(_ *rig, s *Socket) { s.Kill(flow.Policy) }, flow.Policy, flow.Policy},
		{"Kill with an error", func(_ *rig, s *Socket) { s.Kill(mine) }, mine, flow.Reset},
		{"Reject", func(_ *rig, s *Socket) { s.Reject(nil) }, flow.DialFailed, flow.DialFailed},
		{"stack closed", func(r *rig, _ *Socket) { r.Close(nil) }, flow.Shutdown, flow.Shutdown},
		{"conn failed", func(r *rig, _ *Socket) { r.Close(&causeError{flow.ConnFailed, mine}) }, mine, flow.ConnFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := families[0]
				r := newRig(t, Config{Mapping: PerFlow})
				s := r.opened(f.client, f.server)
				s.ReadMsg(make([]byte, 9))
				blocked := make(chan error)
				go func() { // ends with its Read
					_, err := s.ReadMsg(nil)
					blocked <- err
				}()
				synctest.Wait()
				ctx := s.Context()
				tc.end(r, s)
				want := func(what, op string, err error) {
					t.Helper()
					var oe *net.OpError
					if !errors.Is(err, net.ErrClosed) || !errors.Is(err, tc.cause) ||
						!errors.As(err, &oe) || oe.Op != op || oe.Timeout() || oe.Source == nil || oe.Addr == nil {
						t.Errorf("%s = %v", what, err)
					}
				}
				want("blocked ReadMsg", "read", <-blocked)
				_, _, err := s.ReadFrom(nil)
				want("ReadFrom", "read", err)
				_, err = s.WriteTo(nil, nil)
				want("WriteTo", "write", err)
				_, err = s.WriteMsg(Msg{})
				want("WriteMsg", "write", err)
				want("SetDeadline", "set", s.SetDeadline(time.Time{}))
				want("Reject", "reject", s.Reject(nil))
				if err := s.Close(); err != nil {
					t.Errorf("Close after the end: %v", err)
				}
				s.Kill(nil) // does nothing
				for _, ctx := range []context.Context{ctx, s.Context()} {
					if ctx.Err() == nil || flow.CauseOf(context.Cause(ctx)) != tc.flow {
						t.Errorf("Context's cause = %v", context.Cause(ctx))
					}
				}
				i := s.Info()
				if i.Ended.IsZero() || flow.CauseOf(i.Cause) != tc.flow || s.FlowInfo().State != "closed" {
					t.Errorf("Info = %+v", i)
				}
				if r.flows.Len() != 0 || r.Stats().Sockets != 0 {
					t.Errorf("%d flows, %+v", r.flows.Len(), r.Stats())
				}
			})
		})
	}
}

// The datagram after an end opens a new Socket with a new ID.
func TestReopen(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	s := r.opened(f.client, f.server)
	if got, ok := r.flows.Get(s.ID()); !ok || got.FlowInfo().State != "open" || got.FlowInfo().Network != "udp" {
		t.Errorf("flow %v", got)
	}
	s.Close()
	r.wantDrops(drop.UDPClosed, 1)
	again := r.opened(f.client, f.server)
	if again == s || again.ID() == s.ID() {
		t.Errorf("ID %d again", s.ID())
	}
}

// After Close the table takes nothing and gives nothing.
func TestTableClosed(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	r.Close(nil)
	r.Close(os.ErrClosed)
	r.receive(f.client, f.server, "x")
	r.wantDrops(drop.Closed, 1)
	if _, err := r.Listen(ap("10.0.0.1:1")); !errors.Is(err, net.ErrClosed) || !errors.Is(err, flow.Shutdown) {
		t.Errorf("Listen = %v", err)
	}
	if _, err := r.Dial(ap("10.0.0.1:1"), f.server); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial = %v", err)
	}
	wantAcceptError(t, r.Acceptor(), t.Context(), flow.Shutdown, false)
}

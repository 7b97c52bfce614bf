package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

// TestLazyFirstCall lets each kind of first call do the handshake.
func TestLazyFirstCall(t *testing.T) {
	r := newRig(t, Config{})
	for name, first := range map[string]func(s *Stream) error{
		"Handshake": func(s *Stream) error { return s.Handshake(context.Background()) },
		"Read":      func(s *Stream) error { _, err := s.Read(make([]byte, 1)); return err },
		"Peek":      func(s *Stream) error { _, err := s.Peek(make([]byte, 1)); return err },
		"WriteTo":   func(s *Stream) error { _, err := s.WriteTo(io.Discard); return err },
		"Write":     func(s *Stream) error { _, err := s.Write([]byte("x")); return err },
		"ReadFrom":  func(s *Stream) error { _, err := s.ReadFrom(io.LimitReader(endless{}, 10)); return err },
		"CloseWrite": func(s *Stream) error { // before there is anything to close
			if err := s.CloseWrite(); err != nil {
				return err
			}
			_, err := s.Read(make([]byte, 1))
			return err
		},
	} {
		a, wait := r.pending()
		if i := a.Info(); i.State != "SYN-RECEIVED" || i.Cause != nil {
			t.Errorf("%s: pending: %+v", name, i)
		}
		if err := a.SetNoDelay(true); !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("%s: an option before the handshake: %v", name, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := first(a); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		got := <-wait
		if got.err != nil {
			t.Fatalf("%s: dial: %v", name, got.err)
		}
		got.s.Write([]byte("y"))
		got.s.CloseWrite()
		wg.Wait()
		if err := a.Handshake(context.Background()); err != nil {
			t.Errorf("%s: Handshake again: %v", name, err)
		}
		if err := a.Reject(nil); !errors.Is(err, syscall.EISCONN) {
			t.Errorf("%s: Reject after the handshake: %v", name, err)
		}
		a.Close()
		if _, err := io.ReadAll(got.s); err != nil {
			t.Errorf("%s: the dialler reads %v", name, err)
		}
		got.s.Close()
	}
}

// TestRejectOnWire is a refused connect.
func TestRejectOnWire(t *testing.T) {
	r := newRig(t, Config{})
	for _, refuse := range []func(*Stream) error{
		func(s *Stream) error { return s.Reject(syscall.ECONNREFUSED) },
		func(s *Stream) error { return s.Close() },
		func(s *Stream) error { return s.Reset() },
	} {
		a, wait := r.pending()
		if err := refuse(a); err != nil {
			t.Error(err)
		}
		if got := <-wait; !errors.Is(got.err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", got.err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if err := a.Handshake(context.Background()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("handshake: %v", err)
		}
		if err := a.Reject(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reject again: %v", err)
		}
	}
}

// slowShake is a Handshaker in the hands of a test.
type slowShake struct {
	begun    chan struct{}
	fail     chan error
	rejected chan error
}

func newSlowShake() *slowShake {
	return &slowShake{make(chan struct{}, 1), make(chan error, 1), make(chan error, 1)}
}

func (h *slowShake) Answer(done func(*netstack.Endpoint, error)) func(error) {
	return answerBy(h.shake, done)
}

func (h *slowShake) shake(ctx context.Context) (*netstack.Endpoint, error) {
	h.begun <- struct{}{}
	select {
	case err := <-h.fail:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *slowShake) Reject(err error) { h.rejected <- err }

// newPending returns a stream whose handshake, by hs, is still to be decided.
func newPending(env *Env, cfg *Config, source, destination netip.AddrPort, hs Handshaker) *Stream {
	s := newStream(env, cfg, source, destination, false)
	s.pending = &pending{hs: hs, done: make(chan struct{})}
	env.Flows.Add(s.id, s)
	return s
}

// fakeEnv has no engine; it is for streams that never get an endpoint.
func fakeEnv(t *testing.T) *Env {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	return &Env{
		Flows: flow.NewRegistry(flow.Trace{}), Budget: budget.New(0), Drops: new(drop.Counters),
		Clock: wallClock{}, MTU: 1500, Flushers: NewFlushers(1), Closer: NewCloser(),
		Go: func(f func()) { wg.Go(f) },
	}
}

func pendingStream(t *testing.T) (*Stream, *slowShake) {
	cfg, err := (*Config)(nil).Resolved()
	if err != nil {
		t.Fatal(err)
	}
	h := newSlowShake()
	return newPending(fakeEnv(t), &cfg, clientEnd, serverEnd, h), h
}

// TestHandshakeDeadline waits for a handshake no longer than the deadline says, and
// goes on waiting when that is moved.
func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := pendingStream(t)
		s.SetReadDeadline(time.Now().Add(-1))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || len(h.begun) != 0 {
			t.Errorf("past deadline: %v", err)
		}
		s.SetDeadline(time.Now().Add(time.Second))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := s.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: %v", err)
			}
		})
		wg.Wait()
		s.SetDeadline(time.Time{})
		for _, call := range []func([]byte) (int, error){s.Read, s.Write} {
			wg.Go(func() {
				_, err := call(make([]byte, 1))
				var ne net.Error
				if !errors.Is(err, syscall.ETIMEDOUT) || !errors.As(err, &ne) || ne.Timeout() {
					t.Errorf("the handshake's own failure: %v", err)
				}
			})
		}
		synctest.Wait()
		h.fail <- syscall.ETIMEDOUT
		wg.Wait()
		if len(h.begun) != 1 {
			t.Errorf("%d handshakes", len(h.begun))
		}
		if got := cause(t, s); got != flow.TimedOut {
			t.Errorf("cause %v", got)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("for ever: %v", err)
		}
	})
}

// TestHandshakeEnds ends a stream while its handshake is under way, or undecided.
func TestHandshakeEnds(t *testing.T) {
	own := errors.New("a reason of the application's")
	for _, tc := range []struct {
		name  string
		end   func(s *Stream, cancel context.CancelCauseFunc)
		want  error // of calls
		cause error
	}{
		{"context", func(_ *Stream, cancel context.CancelCauseFunc) { cancel(own) }, own, flow.Reset},
		{"Close", func(s *Stream, _ context.CancelCauseFunc) { s.Close() }, net.ErrClosed, flow.Closed},
		{"Kill", func(s *Stream, _ context.CancelCauseFunc) { s.Kill(own) }, own, own},
		{"Reset", func(s *Stream, _ context.CancelCauseFunc) { s.Reset() }, net.ErrClosed, flow.Reset},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, h := pendingStream(t)
				ctx, cancel := context.WithCancelCause(context.Background())
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := s.Handshake(ctx); !errors.Is(err, tc.want) {
						t.Errorf("Handshake: %v", err)
					}
				})
				synctest.Wait()
				wg.Go(func() {
					if _, err := s.Read(make([]byte, 1)); !errors.Is(err, tc.want) {
						t.Errorf("Read: %v", err)
					}
				})
				synctest.Wait()
				tc.end(s, cancel)
				wg.Wait()
				if got := cause(t, s); got != tc.cause {
					t.Errorf("cause %v, want %v", got, tc.cause)
				}
				if len(h.rejected) != 0 {
					t.Error("rejected although it was being answered")
				}
				if n := s.env.Flows.Len(); n != 0 {
					t.Errorf("%d flows left", n)
				}
				cancel(nil)
			})
		})
	}
	t.Run("joined", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := pendingStream(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := s.Read(make([]byte, 1)); !errors.Is(err, own) {
					t.Errorf("Read: %v", err)
				}
			})
			synctest.Wait()
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(own)
			if err := s.Handshake(ctx); !errors.Is(err, own) {
				t.Errorf("Handshake: %v", err)
			}
			wg.Wait()
		})
	})
	t.Run("undecided", func(t *testing.T) {
		for _, end := range []func(*Stream) error{
			func(s *Stream) error { return s.Close() },
			func(s *Stream) error { s.Kill(nil); return nil },
			func(s *Stream) error { return s.Reject(nil) },
			func(s *Stream) error {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				if s.Handshake(ctx) == nil {
					return errors.New("Handshake with an ended context succeeded")
				}
				return nil
			},
		} {
			s, h := pendingStream(t)
			if err := end(s); err != nil {
				t.Error(err)
			}
			if len(h.rejected) != 1 || len(h.begun) != 0 {
				t.Errorf("%d rejected, %d begun", len(h.rejected), len(h.begun))
			}
			cause(t, s)
			s.Close()
			s.Reset()
			if len(h.rejected) != 1 {
				t.Error("rejected twice")
			}
		}
	})
	t.Run("abandoned", func(t *testing.T) {
		s, h := pendingStream(t)
		if !s.abandon(syscall.ETIMEDOUT) || s.abandon(syscall.ETIMEDOUT) {
			t.Error("abandon works once")
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("read: %v", err)
		}
		if len(h.rejected)+len(h.begun) != 0 || cause(t, s) != flow.TimedOut {
			t.Error("the handshaker was called")
		}
	})
}

// TestEndDuringHandshake ends streams in the moment in which they are established: the
// flow ends, the budget comes back and the peer is reset.
func TestEndDuringHandshake(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 200 {
		a, wait := r.pending()
		var wg sync.WaitGroup
		wg.Go(func() { a.Handshake(context.Background()) })
		wg.Go(func() {
			for range i * 20 {
				a.Dialed() // a delay that grows
			}
			switch i % 3 {
			case 0:
				a.Kill(nil)
			case 1:
				a.Close()
			case 2:
				a.Reset()
			}
		})
		wg.Wait()
		cause(t, a)
		if got := <-wait; got.err == nil {
			io.Copy(io.Discard, got.s) // EOF or a reset
			got.s.Close()
			cause(t, got.s)
		}
	}
	eventually(t, "no flow is left", func() bool { return r.a.env.Flows.Len()+r.b.env.Flows.Len() == 0 })
}

package forward

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/stack"
	"l3extract/tcp"
)

// TestRefusedPort: a port of the host on which nobody listens is refused to the
// client, and never connected first.
func TestRefusedPort(t *testing.T) { eachWay(t, testRefusedPort) }

func testRefusedPort(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	l := r.listen("198.51.100.7:80")
	_ = l.Close()
	if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want ECONNREFUSED", err)
	}
	r.wantCause("tcp", stack.DialFailed)
	if st := r.fwd.Stats(); st.Dials != 1 || st.DialsFailed != 1 || st.Streams != 1 {
		t.Errorf("stats %+v, want one failed dial", st)
	}
}

// TestDialErrors: what the client is told of each error of a Dialer.
func TestDialErrors(t *testing.T) {
	wrapped := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"refused", wrapped(syscall.ECONNREFUSED), syscall.ECONNREFUSED},
		{"host unreachable", wrapped(syscall.EHOSTUNREACH), syscall.EHOSTUNREACH},
		{"net unreachable", wrapped(syscall.ENETUNREACH), syscall.ENETUNREACH},
		{"no such family", wrapped(syscall.EADDRNOTAVAIL), syscall.ENETUNREACH},
		{"no such name", &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, syscall.EHOSTUNREACH},
		{"anything else", errors.New("proxy says no"), syscall.ECONNREFUSED},
	} {
		for _, addr := range []string{"198.51.100.7:80", "[2001:db8::7]:80"} {
			t.Run(tc.name+" "+addr, func(t *testing.T) {
				srv := &Server{Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, tc.err })}
				r := newRig(t, srv, stack.Config{TCP: lazy})
				if _, err := r.client.DialContext(soon(t), "tcp", addr); !errors.Is(err, tc.want) {
					t.Errorf("dial: %v, want %v", err, tc.want)
				}
				r.wantCause("tcp", stack.DialFailed)
			})
		}
	}
}

// TestEager: without LazyHandshake the dial comes after the handshake, and a
// failure is a reset.
func TestEager(t *testing.T) { eachWay(t, testEager) }

func testEager(t *testing.T) {
	r := newRig(t, &Server{}, stack.Config{})
	c, up := r.joined("198.51.100.7:80")
	echo(t, c, up)

	l := r.listen("198.51.100.7:81")
	_ = l.Close()
	broken, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:81")
	if err == nil { // else the reset was faster than the dial's end
		_ = broken.SetReadDeadline(time.Now().Add(patience))
		_, err = broken.Read(make([]byte, 1))
		_ = broken.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want ECONNRESET", err)
	}
	r.wantCause("tcp", stack.DialFailed)
}

// TestBlackHole: dials that nobody answers end by themselves, their clients hear
// nothing, and they are in nobody else's way.
func TestBlackHole(t *testing.T) {
	var holes atomic.Int64
	var real net.Dialer
	srv := &Server{
		DialTimeout: 50 * time.Millisecond,
		Dialer: dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "203.0.113.1:80" {
				return real.DialContext(ctx, network, address)
			}
			holes.Add(1)
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
		}),
	}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := r.client.DialContext(ctx, "tcp", "203.0.113.1:80")
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("dial of the black hole: %v, want the client's own time-out", err)
	}
	c, up := r.joined("198.51.100.7:80")
	echo(t, c, up)
	wait(t, "dials to end", func() bool { return srv.Stats().Dialing == 0 })
	if got := r.causes("tcp", 1); !errors.Is(got[0], stack.DialFailed) {
		t.Errorf("cause %v, want dial failed", got[0])
	}
	if holes.Load() == 0 {
		t.Error("nobody dialled the black hole")
	}
}

// TestMaxDials: dials in flight are bounded, also per destination.
func TestMaxDials(t *testing.T) {
	release := make(chan struct{})
	srv := &Server{
		MaxDials: 20, MaxDialsPerDestination: 2,
		Dialer: dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, syscall.ECONNREFUSED
		}),
	}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := r.client.DialContext(soon(t), "tcp", "203.0.113.1:80")
			errs <- err
		}()
	}
	wait(t, "two dials in flight", func() bool { return srv.Stats().Dialing == 2 })
	if _, err := r.client.DialContext(soon(t), "tcp", "203.0.113.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("third dial: %v, want ECONNREFUSED", err)
	}
	r.wantCause("tcp", stack.Limit)
	if got := srv.Stats().Limited; got != 1 {
		t.Errorf("%d streams limited, want 1", got)
	}
	close(release)
	for range 2 {
		if err := <-errs; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v, want ECONNREFUSED", err)
		}
	}
	wait(t, "no dial in flight", func() bool { return srv.Stats().Dialing == 0 })
}

// TestEndOfStreamEndsDial: a stream that is killed before it was decided takes its
// dial with it.
func TestEndOfStreamEndsDial(t *testing.T) {
	ended := make(chan error, 1)
	srv := &Server{
		DialTimeout: -1,
		Dialer: dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}),
	}
	r := newRig(t, srv, stack.Config{TCP: tcp.Config{LazyHandshake: true, DecideTimeout: 50 * time.Millisecond}})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, _ = r.client.DialContext(ctx, "tcp", "203.0.113.1:80")
	<-ended
	wait(t, "no dial in flight", func() bool { return srv.Stats().Dialing == 0 })
}

// TestRoute: what Route refuses is refused, what it renames is dialled by name,
// and OnDial hears of it.
func TestRoute(t *testing.T) {
	var dialled atomic.Pointer[Dial]
	srv := &Server{
		OnDial: func(d Dial) { dialled.Store(&d) },
		Route: func(_ context.Context, f outbound.Flow) (Target, error) {
			if f.Destination.Port() == 1 {
				return Target{}, syscall.EHOSTUNREACH
			}
			return Target{Host: "name.invalid"}, nil
		},
		Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }),
	}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:1"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("unroutable: %v, want EHOSTUNREACH", err)
	}
	if dialled.Load() != nil {
		t.Error("what Route refused was dialled")
	}
	if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:2"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("by name: %v, want ECONNREFUSED", err)
	}
	wait(t, "OnDial", func() bool { return dialled.Load() != nil })
	d := dialled.Load()
	if d.Address != "name.invalid:2" || d.Destination.String() != "198.51.100.7:2" || d.Err == nil || d.ID == 0 {
		t.Errorf("OnDial got %+v", d)
	}
	if got := srv.Stats().Unroutable; got != 1 {
		t.Errorf("%d unroutable, want 1", got)
	}
}

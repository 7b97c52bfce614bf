package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/adapters/outbound"
)

// proxy is an outbound whose health a test decides.
type proxy struct {
	mu            sync.Mutex
	err           error // of dials and checks
	hang          bool
	dials, checks int
}

func (p *proxy) set(err error, hang bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.hang = err, hang
}

func (p *proxy) count() (dials, checks int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials, p.checks
}

func (p *proxy) do(ctx context.Context, n *int) error {
	p.mu.Lock()
	*n++
	err, hang := p.err, p.hang
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return fmt.Errorf("%w (%w)", outbound.ErrProxy, ctx.Err())
	}
	return err
}

func (p *proxy) check(ctx context.Context) error { return p.do(ctx, &p.checks) }

func (p *proxy) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := p.do(ctx, &p.dials); err != nil {
		return nil, err
	}
	c, _ := net.Pipe()
	return c, nil
}

func (p *proxy) ListenPacket(ctx context.Context, _, _ string) (net.PacketConn, error) {
	return nil, p.do(ctx, &p.dials)
}

var errDown = fmt.Errorf("no way to the proxy: %w", outbound.ErrProxy)

// newPair returns a Failover over two proxies and what it logs.
func newPair(t *testing.T, cfg FailoverConfig) (*Failover, *proxy, *proxy, *lines) {
	t.Helper()
	a, b, log := new(proxy), new(proxy), new(lines)
	cfg.Name = "pair"
	cfg.Outbounds = []Outbound{{Name: "a", Dialer: a, Check: a.check}, {Name: "b", Dialer: b, Check: b.check}}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	f, err := NewFailover(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f, a, b, log
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) count() int { return strings.Count(l.String(), "\n") }

// TestFailover: the first that is well is used, one that fails its checks is not, and each
// change is one line.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b, log := newPair(t, FailoverConfig{})
		defer f.Close()
		used := func(want string, logged int) {
			t.Helper()
			synctest.Wait()
			if got := f.Pick().Name; got != want || log.count() != logged {
				t.Errorf("%s is used, want %s; %d lines, want %d: %s", got, want, log.count(), logged, log)
			}
		}
		used("a", 0)

		a.set(errDown, false)
		time.Sleep(DefaultInterval) // one failure is none
		used("a", 0)
		time.Sleep(soonest) // and is looked at again soon
		used("b", 1)
		if h := f.Health(); !h[0].Down || h[0].Used || !errors.Is(h[0].Err, outbound.ErrProxy) || h[0].ChecksFailed != 2 || h[0].Checks != 3 || !h[1].Used || h[1].Down {
			t.Errorf("%+v", h)
		}

		b.set(nil, true) // it hangs
		time.Sleep(DefaultInterval + soonest + 2*DefaultTimeout)
		used("a", 2)
		if _, err := f.DialContext(t.Context(), "tcp", "example.com:1"); !errors.Is(err, outbound.ErrProxy) {
			t.Errorf("with none that is well: %v", err)
		}

		b.set(nil, false)
		time.Sleep(DefaultInterval + DefaultTimeout)
		used("b", 3)
		a.set(nil, false)
		time.Sleep(DefaultInterval)
		used("a", 4)
		time.Sleep(10 * DefaultInterval)
		used("a", 4)
	})
}

// TestFailoverDials: what is the proxy's fault is tried by the next, and checked early;
// what is the destination's is not.
func TestFailoverDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b, log := newPair(t, FailoverConfig{Interval: time.Hour})
		defer f.Close()
		synctest.Wait()
		dial := func(want error) {
			t.Helper()
			c, err := f.DialContext(t.Context(), "tcp", "example.com:1")
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%v, want %v", err, want)
			}
			if c != nil {
				_ = c.Close()
			}
		}
		dials := func(wantA, wantB int) {
			t.Helper()
			gotA, _ := a.count()
			gotB, _ := b.count()
			if gotA != wantA || gotB != wantB {
				t.Errorf("%d and %d dials, want %d and %d", gotA, gotB, wantA, wantB)
			}
		}
		dial(nil)
		a.set(syscall.ECONNREFUSED, false)
		dial(syscall.ECONNREFUSED)
		dials(2, 0)
		a.set(errDown, false)
		dial(nil)
		dials(3, 1)
		if pc, err := f.ListenPacket(t.Context(), "udp4", ":0"); pc != nil || err != nil {
			t.Errorf("%v, %v", pc, err)
		}
		dials(4, 2)
		if h := f.Health(); h[0].Dials != 4 || h[0].DialsFailed != 2 || h[1].Dials != 2 {
			t.Errorf("%+v", h)
		}
		time.Sleep(3 * soonest) // an hour is not waited for
		synctest.Wait()
		if f.Pick().Name != "b" || log.count() != 1 {
			t.Errorf("%s is used: %s", f.Pick().Name, log)
		}
		dial(nil)
		dials(4, 3)
		_, before := a.count()
		for range 100 { // however often it fails, checks are a second apart
			b.set(errDown, false)
			dial(outbound.ErrProxy)
		}
		time.Sleep(5 * soonest)
		if _, after := a.count(); after-before > 6 {
			t.Errorf("%d checks in five seconds", after-before)
		}
	})
}

// TestFailoverSilent: a proxy that does not answer leaves time for the next, and the last
// one has all of it.
func TestFailoverSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b, _ := newPair(t, FailoverConfig{Interval: time.Hour})
		defer f.Close()
		synctest.Wait()
		dial := func(want time.Duration, ok bool) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			began := time.Now()
			c, err := f.DialContext(ctx, "tcp", "example.com:1")
			if took := time.Since(began); took != want || (err == nil) != ok {
				t.Errorf("%v after %v, want it after %v", err, took, want)
			}
			if c != nil {
				_ = c.Close()
			}
		}
		a.set(nil, true)
		dial(5*time.Second, true)
		b.set(nil, true)
		dial(10*time.Second, false)
	})
}

// TestFailoverClose: it may come at any time and again, and ends a check that hangs.
func TestFailoverClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a, b, log := newPair(t, FailoverConfig{Failures: 1, Timeout: time.Hour})
		synctest.Wait()
		a.set(nil, true)
		b.set(nil, true)
		time.Sleep(DefaultInterval)
		for range 2 {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if log.count() != 0 {
			t.Errorf("logged %s", log)
		}
		a.set(nil, false)
		if c, err := f.DialContext(t.Context(), "tcp", "x:1"); err != nil {
			t.Errorf("after Close: %v", err)
		} else {
			_ = c.Close()
		}
	})
}

// TestProbe: without a Check of its own an outbound dials the Probe.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(way)
		f, err := NewFailover(&FailoverConfig{Outbounds: []Outbound{{Name: "w", Dialer: w}}, Probe: "example.com:443"})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = f.Close()
		if len(w.dialed) != 1 || w.dialed[0] != "example.com:443" {
			t.Errorf("dialled %v", w.dialed)
		}
	})
}

// TestEarly: DialEarly is passed on to whom has it.
func TestEarly(t *testing.T) {
	e := new(early)
	check := func(context.Context) error { return nil }
	f, err := NewFailover(&FailoverConfig{Outbounds: []Outbound{{Name: "e", Dialer: e, Check: check}, {Name: "w", Dialer: new(way), Check: check}}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 { // the second time by the one that has it not
		c, err := f.DialEarly(t.Context(), "tcp", "example.com:443")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		e.fail = true
	}
	if e.n != 2 || len(e.dialed) != 0 {
		t.Errorf("%d early, %d others", e.n, len(e.dialed))
	}
}

type early struct {
	way
	n    int
	fail bool
}

func (e *early) DialEarly(context.Context, string, string) (net.Conn, error) {
	e.n++
	if e.fail {
		return nil, errDown
	}
	c, _ := net.Pipe()
	return c, nil
}

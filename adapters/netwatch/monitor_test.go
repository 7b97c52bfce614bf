package netwatch

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fake is a source that a test speaks for.
type fake struct {
	news chan struct{}
	end  chan struct{}

	mu    sync.Mutex
	once  sync.Once
	now   view
	looks int
	err   error
}

func newFake() *fake {
	return &fake{news: make(chan struct{}), end: make(chan struct{}), now: viewOf(1, 1)}
}

func (f *fake) wait() error {
	select {
	case <-f.news:
		return nil
	case <-f.end:
		return errClosed
	}
}

func (f *fake) close() error {
	f.once.Do(func() { close(f.end) })
	return nil
}

func (f *fake) look() (*view, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	now := f.now
	return &now, f.err
}

func (f *fake) set(v view, err error) {
	f.mu.Lock()
	f.now, f.err = v, err
	f.mu.Unlock()
	f.news <- struct{}{}
}

var names = []string{"", "eth0", "wlan0"}

// viewOf has these default interfaces; 0 is none. Interface i has the address 192.0.2.i.
func viewOf(v4, v6 int) view {
	v := view{addrs: make(map[netip.Addr]bool)}
	for i, index := range []int{v4, v6} {
		v.ways[i] = make(map[int]bool)
		if index != 0 {
			v.ways[i][index] = true
			v.addrs[netip.AddrFrom4([4]byte{192, 0, 2, byte(index)})] = true
		}
	}
	v.V4, v.V6 = Interface{names[v4], v4}, Interface{names[v6], v6}
	return v
}

// TestSettle: one look and one call for changes that come in a row, and one in time
// also if they do not end.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var mu sync.Mutex
		var told []Defaults
		m, err := newMonitor(Config{Changed: func(_, now Defaults) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, now)
		}}, f)
		calls := func() []Defaults {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told)
		}
		looks := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.looks
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		for range 3 {
			f.set(viewOf(2, 1), nil)
			time.Sleep(DefaultSettle / 2)
		}
		synctest.Wait()
		if len(calls()) != 0 || looks() != 1 {
			t.Errorf("%d calls, %d looks before it has settled", len(calls()), looks())
		}
		time.Sleep(DefaultSettle)
		synctest.Wait()
		if len(calls()) != 1 || looks() != 2 || calls()[0] != viewOf(2, 1).Defaults || m.Defaults() != calls()[0] {
			t.Errorf("calls %v, %d looks", calls(), looks())
		}
		f.set(viewOf(2, 1), nil) // nothing that matters
		time.Sleep(2 * DefaultSettle)
		f.set(viewOf(0, 0), errors.New("cannot look"))
		time.Sleep(2 * DefaultSettle)
		synctest.Wait()
		if len(calls()) != 1 || m.Defaults() != viewOf(2, 1).Defaults {
			t.Errorf("calls %v", calls())
		}
		begin := time.Now()
		for len(calls()) == 1 { // a link that flaps
			f.set(viewOf(0, 0), nil)
			time.Sleep(DefaultSettle / 4)
			synctest.Wait()
		}
		if took := time.Since(begin); took > 5*DefaultSettle {
			t.Errorf("it took %v of changes", took)
		}
		why := errors.New("enough")
		cancel(why)
		if err := <-done; err != why {
			t.Error(err)
		}
		if err := m.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
	})
}

// TestLooksAgain: after a look that failed there is another without an event.
func TestLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		changed := make(chan Defaults, 1)
		m, err := newMonitor(Config{Changed: func(_, now Defaults) { changed <- now }}, f)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- m.Run(t.Context()) }()
		f.set(viewOf(2, 1), syscall.ENOBUFS)
		time.Sleep(2 * DefaultSettle)
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()
		select {
		case now := <-changed:
			if now != viewOf(2, 1).Defaults {
				t.Error(now)
			}
		case <-time.After(time.Minute):
			t.Error("it does not look again")
		}
		if err := errors.Join(m.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
}

// TestEnds: Close ends Run, and so does a source that fails, which it tells.
func TestEnds(t *testing.T) {
	f := newFake()
	m, err := newMonitor(Config{}, f)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- m.Run(t.Context()) }()
	if err := errors.Join(m.Close(), m.Close(), <-done); err != nil {
		t.Error(err)
	}
	broken := &failing{fake: newFake()}
	if m, err = newMonitor(Config{}, broken); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	broken.err = syscall.EIO
	if _, err = newMonitor(Config{}, broken); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

type failing struct{ *fake }

func (failing) wait() error { return syscall.EIO }

func TestInterface(t *testing.T) {
	f := newFake()
	f.now = viewOf(2, 0)
	m, err := newMonitor(Config{}, f)
	if err != nil {
		t.Fatal(err)
	}
	for network, want := range map[string]string{
		"tcp4": "wlan0", "udp4": "wlan0", "ip4:icmp": "wlan0", "tcp6": "", "udp6": "", "ip6:ipv6-icmp": "",
	} {
		got, err := m.Interface(network)
		if got != want || (want == "") != errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s: %q, %v", network, got, err)
		}
	}
}

func TestLost(t *testing.T) {
	f := newFake()
	f.now = viewOf(2, 1)
	m, err := newMonitor(Config{}, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		local string
		index int
		want  bool
	}{
		{"192.0.2.2", 0, false}, {"::ffff:192.0.2.2", 0, false}, {"192.0.2.7", 0, true}, {"127.0.0.1", 0, false}, {"0.0.0.0", 0, false},
		{"127.0.0.1", 7, false}, {"192.0.2.2", 2, false}, {"192.0.2.2", 1, true}, {"0.0.0.0", 1, true},
		{"::", 1, false}, {"::", 2, true}, {"2001:db8::1", 0, true},
	} {
		if got := m.Lost(netip.MustParseAddr(tc.local), tc.index); got != tc.want {
			t.Errorf("%s, bound to %d: %v", tc.local, tc.index, got)
		}
	}
	if m.Lost(netip.Addr{}, 0) {
		t.Error("a socket of which nothing is known is lost")
	}
}

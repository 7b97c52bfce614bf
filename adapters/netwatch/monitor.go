package netwatch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Interface is a network interface of the host. The zero value is none.
type Interface struct {
	Name  string // as ip link shows it
	Index int    // 1 and more
}

// Defaults are the interfaces by which the default routes of the main table lead. Of
// several the one with the lowest metric counts, of those that are up.
type Defaults struct {
	V4, V6 Interface // of IPv4 and IPv6; zero: there is no default route
}

// Config says what a Monitor looks at. nil and the zero value are fine.
type Config struct {
	// Skip are names of interfaces that never count, such as that of a tunnel of ours.
	Skip []string

	// Settle is for how long nothing must have changed before the Monitor looks, but it
	// looks after four times as long at the latest. Default: 200 ms. Negative: at once.
	Settle time.Duration

	// Changed, if set, is called by Run when the Defaults have become others, and when an
	// interface with one of them, or an address of the host, is lost: see Lost. Run waits
	// for it.
	Changed func(old, new Defaults)
}

// DefaultSettle is Config.Settle's default.
const DefaultSettle = 200 * time.Millisecond

// Monitor follows the default routes. Its methods may be called at once.
type Monitor struct {
	cfg  Config
	src  source
	view atomic.Pointer[view]
	ran  atomic.Bool
}

// source is where a Monitor hears and sees.
type source interface {
	// wait returns when something may have changed.
	wait() error
	// look returns what is so now.
	look() (*view, error)
	// close ends wait.
	close() error
}

// view is what was so at a moment.
type view struct {
	Defaults
	// ways are the indices of the interfaces, up, with a default route: of IPv4, and of
	// IPv6.
	ways [2]map[int]bool
	// addrs are the addresses of interfaces that are up.
	addrs map[netip.Addr]bool
}

// New returns a Monitor of the calling thread's network namespace, which has looked
// once. On other systems than Linux it says errors.ErrUnsupported.
func New(cfg *Config) (*Monitor, error) {
	c := Config{}
	if cfg != nil {
		c = *cfg
	}
	c.Skip = slices.Clone(c.Skip)
	src, err := open(c.Skip)
	if err != nil {
		return nil, fmt.Errorf("netwatch: %w", err)
	}
	return newMonitor(c, src)
}

func newMonitor(c Config, src source) (*Monitor, error) {
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	m := &Monitor{cfg: c, src: src}
	v, err := src.look()
	if err != nil {
		return nil, fmt.Errorf("netwatch: %w", errors.Join(err, src.close()))
	}
	m.view.Store(v)
	return m, nil
}

// Run follows what changes until ctx ends, whose cause it returns, or until Close, when
// it returns nil. It may be called once.
func (m *Monitor) Run(ctx context.Context) error {
	if m.ran.Swap(true) {
		return errors.New("netwatch: Run was called before")
	}
	events, failed := make(chan struct{}, 1), make(chan error, 1)
	go func() { // listens; it ends with the source, and is awaited below
		defer close(failed)
		for {
			if err := m.src.wait(); err != nil {
				failed <- err
				return
			}
			select {
			case events <- struct{}{}:
			default: // one is waiting to be seen
			}
		}
	}()
	err := m.follow(ctx, events, failed)
	if ctx.Err() != nil {
		_ = m.src.close()
		<-failed
		return context.Cause(ctx)
	}
	return err
}

// follow looks when events have settled.
func (m *Monitor) follow(ctx context.Context, events <-chan struct{}, failed <-chan error) error {
	settle := max(m.cfg.Settle, 0)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var first time.Time // event since the last look; zero: none
	for {
		select {
		case <-events:
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(min(settle, time.Until(first.Add(4*settle))))
		case <-timer.C:
			first = time.Time{}
			if !m.look() {
				timer.Reset(retry)
			}
		case err := <-failed:
			if errors.Is(err, errClosed) {
				return nil
			}
			return fmt.Errorf("netwatch: %w", err)
		case <-ctx.Done():
			return nil
		}
	}
}

// retry is how long after a look that failed there is another, if no event comes before.
const retry = time.Second

// look looks again and tells what has changed. What cannot be seen now is left as it
// was, and it returns false.
func (m *Monitor) look() bool {
	now, err := m.src.look()
	if err != nil {
		return false
	}
	was := m.view.Swap(now)
	if m.cfg.Changed != nil && (was.Defaults != now.Defaults || was.loses(now)) {
		m.cfg.Changed(was.Defaults, now.Defaults)
	}
	return true
}

// loses tells whether there is something in v that is not in now.
func (v *view) loses(now *view) bool {
	for a := range v.addrs {
		if !now.addrs[a] {
			return true
		}
	}
	for i := range v.ways {
		for index := range v.ways[i] {
			if !now.ways[i][index] {
				return true
			}
		}
	}
	return false
}

// Close ends Run and gives back what New has opened. It may be called more than once.
func (m *Monitor) Close() error { return m.src.close() }

// Defaults returns the default interfaces as of the last look.
func (m *Monitor) Defaults() Defaults { return m.view.Load().Defaults }

// Interface names the interface for a socket of network, which ends with 4 or 6, or
// begins with ip4 or ip6: the method is direct.Dialer.InterfaceOf. Without a default
// route of the family the error is ENETUNREACH.
func (m *Monitor) Interface(network string) (string, error) {
	d := m.Defaults()
	i := d.V4
	if six(network) {
		i = d.V6
	}
	if i.Name == "" {
		return "", fmt.Errorf("netwatch: %s: there is no default route: %w", network, syscall.ENETUNREACH)
	}
	return i.Name, nil
}

func six(network string) bool {
	proto, _, _ := strings.Cut(network, ":")
	return strings.HasSuffix(proto, "6")
}

// Lost tells whether a socket has lost its way out: one that is bound to the interface
// with this index because that has no default route of the family any more, or is down;
// one that is bound to none (0) because no interface that is up has its local address.
// Loopback is never lost.
func (m *Monitor) Lost(local netip.Addr, index int) bool {
	v := m.view.Load()
	local = local.Unmap().WithZone("")
	if local.IsLoopback() {
		return false
	}
	if index != 0 {
		family := 0
		if local.Is6() {
			family = 1
		}
		return !v.ways[family][index]
	}
	return local.IsValid() && !local.IsUnspecified() && !v.addrs[local]
}

// errClosed is what wait returns after close.
var errClosed = errors.New("closed")

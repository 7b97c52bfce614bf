package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
)

// FailoverConfig is what a Failover goes by.
type FailoverConfig struct {
	// Name is how the log calls it.
	Name string

	// Outbounds are tried in this order: 1 to 64 of them, each with a Dialer. What counts
	// for Optimistic and Trusted is the Outbound whose Dialer the Failover is.
	Outbounds []Outbound

	// Probe is the host:port that is dialled by each outbound to see whether it is well.
	// Outbounds with a Check do not need it.
	Probe string

	// Interval is how often each is checked. Default: 30 s.
	Interval time.Duration

	// Timeout bounds one check. Default: 5 s.
	Timeout time.Duration

	// Failures is how many checks in a row an outbound fails before it counts as down. A
	// single one that it passes brings it back. Default: 2.
	Failures int

	// Logger gets one line for each change of the outbound that is used. Default: nil,
	// silence.
	Logger *slog.Logger
}

// The defaults of FailoverConfig's fields.
const (
	DefaultInterval = 30 * time.Second
	DefaultTimeout  = 5 * time.Second
	DefaultFailures = 2
)

const maxMembers = 64

// Failover is an outbound over several: new flows go by the first that is well, or by the
// first of all if none is; open ones stay where they are. An outbound is well until it
// has failed its checks. If a dial fails by the fault of the proxy
// ([l3extract/adapters/outbound.ErrProxy]) the next that is well is tried at once, and the
// checks come early. A destination's own failure changes nothing. As long as there is a next
// one, a dial may take half of the time that is left, since a proxy that is silent would
// use it up.
//
// Datagrams go by the same outbound as streams; if that carries none they are refused. All
// methods may be called at once.
type Failover struct {
	name     string
	members  []*member
	interval time.Duration
	timeout  time.Duration
	failures int
	log      *slog.Logger

	used atomic.Int32 // index of the one that is used
	down atomic.Bool  // none is well

	early chan struct{} // holds one wish for early checks
	stop  context.CancelFunc
	runs  sync.WaitGroup // run; Close waits for it
}

// member is an outbound of a Failover.
type member struct {
	Outbound
	check func(ctx context.Context) error

	mu sync.Mutex // a leaf
	health
}

// health is what is known of a member.
type health struct {
	failed int // checks in a row
	down   bool
	since  time.Time
	took   time.Duration
	err    error // of the last check

	checks, checksFailed uint64
	dials, dialsFailed   uint64
}

// NewFailover returns a Failover and starts its checks, or a *ConfigError. Close ends them.
func NewFailover(cfg *FailoverConfig) (*Failover, error) {
	f := &Failover{
		name: cfg.Name, interval: cfg.Interval, timeout: cfg.Timeout, failures: cfg.Failures,
		log: cfg.Logger, early: make(chan struct{}, 1),
	}
	switch {
	case f.interval < 0:
		return nil, wrong("Interval", f.interval, "negative")
	case f.timeout < 0:
		return nil, wrong("Timeout", f.timeout, "negative")
	case f.failures < 0:
		return nil, wrong("Failures", f.failures, "negative")
	case len(cfg.Outbounds) == 0 || len(cfg.Outbounds) > maxMembers:
		return nil, wrong("Outbounds", len(cfg.Outbounds), fmt.Sprintf("want 1 to %d", maxMembers))
	}
	if f.interval == 0 {
		f.interval = DefaultInterval
	}
	if f.timeout == 0 {
		f.timeout = DefaultTimeout
	}
	if f.failures == 0 {
		f.failures = DefaultFailures
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Probe != "" {
		if host, _, err := net.SplitHostPort(cfg.Probe); err != nil || host == "" {
			return nil, wrong("Probe", cfg.Probe, "want host:port")
		}
	}
	known := make(map[string]int)
	for i, o := range cfg.Outbounds {
		field := fmt.Sprintf("Outbounds[%d]", i)
		if err := checkOutbound(&o, field+".Name", known); err != nil {
			return nil, err
		}
		known[o.Name] = i
		m := &member{Outbound: o, check: o.Check, health: health{since: time.Now()}}
		switch {
		case o.Dialer == nil:
			return nil, wrong(field+".Name", o.Name, "it has no Dialer")
		case m.check == nil && cfg.Probe == "":
			return nil, wrong(field+".Name", o.Name, "it has no Check, and there is no Probe")
		case m.check == nil:
			m.check = Reachable(o.Dialer, "tcp", cfg.Probe)
		}
		f.members = append(f.members, m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	f.runs.Go(func() { f.run(ctx) }) // ends with Close, which awaits it
	return f, nil
}

// Reachable returns a Check that dials address by d and hangs up: the proxy itself by a
// direct.Dialer, or a host behind it by the proxy's.
func Reachable(d outbound.Dialer, network, address string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		c, err := d.DialContext(ctx, network, address)
		if err == nil {
			_ = c.Close() // nothing was said
		}
		return err
	}
}

// Close ends the checks and waits for them. Flows go on, by the outbound that is used.
func (f *Failover) Close() error {
	f.stop()
	f.runs.Wait()
	return nil
}

// Pick returns the outbound that new flows go by.
func (f *Failover) Pick() *Outbound { return &f.members[f.used.Load()].Outbound }

// DialContext dials by the first outbound that is well and whose proxy is not at fault.
func (f *Failover) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return try(ctx, f, func(ctx context.Context, o *Outbound) (net.Conn, error) {
		return forward.Obeying(ctx, o.Dialer).DialContext(ctx, network, address)
	})
}

// DialEarly implements outbound.EarlyDialer, as far as the outbounds do.
func (f *Failover) DialEarly(ctx context.Context, network, address string) (net.Conn, error) {
	return try(ctx, f, func(ctx context.Context, o *Outbound) (net.Conn, error) {
		if d, ok := o.Dialer.(outbound.EarlyDialer); ok {
			return d.DialEarly(ctx, network, address)
		}
		return forward.Obeying(ctx, o.Dialer).DialContext(ctx, network, address)
	})
}

// ListenPacket opens a socket by the first outbound that is well and whose proxy is not
// at fault. If it carries no datagrams that is the answer.
func (f *Failover) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return try(ctx, f, func(ctx context.Context, o *Outbound) (net.PacketConn, error) {
		if o.PacketListener == nil {
			return nil, &net.OpError{Op: "listen", Net: network, Err: errNoPackets}
		}
		return o.PacketListener.ListenPacket(ctx, network, address)
	})
}

var errNoPackets = fmt.Errorf("router: the outbound carries no datagrams: %w", syscall.EACCES)

// try calls call with the outbounds that may do: the one that is used, then those after
// it that are well.
func try[T any](ctx context.Context, f *Failover, call func(context.Context, *Outbound) (T, error)) (T, error) {
	for i := int(f.used.Load()); ; {
		m := f.members[i]
		next := f.next(i)
		v, err := within(ctx, next >= 0, func(ctx context.Context) (T, error) { return call(ctx, &m.Outbound) })
		fault := err != nil && errors.Is(err, outbound.ErrProxy)
		m.dialled(fault)
		if !fault {
			return v, err
		}
		select {
		case f.early <- struct{}{}:
		default:
		}
		if next < 0 || ctx.Err() != nil {
			return v, err
		}
		i = next
	}
}

// within calls call with the time that ctx has, or half of that.
func within[T any](ctx context.Context, half bool, call func(context.Context) (T, error)) (T, error) {
	if end, ok := ctx.Deadline(); ok && half {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	return call(ctx)
}

// next returns the first member after i that is well, or -1.
func (f *Failover) next(i int) int {
	for j := i + 1; j < len(f.members); j++ {
		if !f.members[j].isDown() {
			return j
		}
	}
	return -1
}

func (m *member) dialled(fault bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dials++
	if fault {
		m.dialsFailed++
	}
}

func (m *member) isDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

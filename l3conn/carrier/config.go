package carrier

import (
	"context"
	"fmt"
	"time"

	"l3extract/l3conn"
)

// Defaults of Config.
const (
	DefaultWait        = 30 * time.Second
	DefaultLimit       = 10 * time.Minute
	DefaultDialTimeout = 15 * time.Second
	DefaultMinBackoff  = 100 * time.Millisecond
	DefaultMaxBackoff  = 5 * time.Second
)

// Config is read once by New; nil and the zero value are the defaults.
type Config struct {
	// Dial makes a carrier; see Conn.Run, which calls it from one goroutine. What it
	// returns is the Conn's: it must have a Close, and an MTU that is not below the
	// Conn's. ctx ends with the call. Default: none, carriers come by Replace.
	Dial func(ctx context.Context) (l3conn.Conn, error)
	// DialTimeout bounds one call of Dial. Default: 15 s. Negative: no bound.
	DialTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause after a Dial that failed, which is
	// doubled each time and differs by up to a half, so that many clients of one
	// server do not come at once. A carrier that lasted for longer than the pause
	// begins anew, and its successor is dialled at once. Default: 100 ms, 5 s.
	MinBackoff, MaxBackoff time.Duration
	// MTU is the largest packet in bytes, 68 to 65535. Default: 1500.
	MTU int
	// Wait is how long after a loss a Write waits for the next carrier. TCP inside
	// survives much longer times, but what has waited that long is worth little.
	// Default: 30 s. Negative: it does not wait.
	Wait time.Duration
	// Limit is how long the conn lives without a carrier, from New on, too. Default:
	// 10 min. Negative: for ever.
	Limit time.Duration
	// OnChange is told of each change, in order, one at a time. It is called with no
	// lock held by whoever caused the change, which may be a reader or writer, and must
	// return soon; what it calls of the Conn works. Default: nobody is told.
	OnChange func(Change)
}

// State says whether there is a carrier.
type State uint8

// The states.
const (
	// Down: there is none, and the Conn waits for one. A Conn begins so.
	Down State = iota
	// Up: there is one.
	Up
	// Over: there will be none any more.
	Over
)

// String implements fmt.Stringer.
func (s State) String() string {
	switch s {
	case Down:
		return "down"
	case Up:
		return "up"
	case Over:
		return "over"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Change is one change of the state.
type Change struct {
	// State is the one from At on.
	State State
	// At is when it happened.
	At time.Time
	// Cause says why a carrier was lost or the Conn is over: net.ErrClosed after Close.
	// It is nil for Up.
	Cause error
}

func (c *Config) withDefaults() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	if d.MTU == 0 {
		d.MTU = l3conn.DefaultMTU
	}
	if d.MTU < 68 || d.MTU > 65535 {
		return d, fmt.Errorf("carrier: Config.MTU %d is not within 68 and 65535", d.MTU)
	}
	for _, f := range []struct {
		field string
		value *time.Duration
		def   time.Duration
	}{
		{"DialTimeout", &d.DialTimeout, DefaultDialTimeout},
		{"Wait", &d.Wait, DefaultWait},
		{"Limit", &d.Limit, DefaultLimit},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	if d.MinBackoff == 0 {
		d.MinBackoff = DefaultMinBackoff
	}
	if d.MaxBackoff == 0 {
		d.MaxBackoff = max(DefaultMaxBackoff, d.MinBackoff)
	}
	if d.MinBackoff < 0 || d.MaxBackoff < d.MinBackoff {
		return d, fmt.Errorf("carrier: Config.MinBackoff %v and MaxBackoff %v are no range", d.MinBackoff, d.MaxBackoff)
	}
	return d, nil
}

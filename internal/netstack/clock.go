package netstack

import (
	"io"
	"math/rand/v2"
	"sync"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
)

// Clock is where an engine takes its time from. It exists for tests, which move
// it by hand.
type Clock interface {
	// Now returns the present time; it must carry a monotonic reading or never
	// go backwards.
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of a Clock; *time.Timer is one.
type Timer interface {
	Stop() bool
	Reset(time.Duration) bool
}

// shortest is the shortest time for which the engine sets a timer: those below are
// set for this. They are RACK's two, the tail loss probe after two round trips and
// the end of the reordering window after a quarter of one; on a path of a few
// milliseconds they would time the goroutines of this program, not the path. A probe
// in vain costs half the congestion window, unless the peer sends DSACK as kernels
// do: between two Stacks over a clean path of 1 ms bulk fell to a third. Medians of
// six transfers each with 0, 10, 20 and 50 ms (bench/lossgrid, Gbit/s): 1.5, 1.3, 3.7
// and 3.4 on that path, where it is some 4 without RACK; where packets are lost more
// is no worse. Linux has such a bound in TCP_TIMEOUT_MIN, two ticks, so this one at 100
// ticks a second. The time-out that a probe is to forestall takes 200 ms at least.
const shortest = 20 * time.Millisecond

// atLeast bounds the time of a timer; none is none, such as a TIME-WAIT of 0.
func atLeast(d time.Duration) time.Duration {
	if d <= 0 {
		return d
	}
	return max(d, shortest)
}

// patientClock is a clock of the engine's with timers of the shortest time or more.
type patientClock struct{ gtcpip.Clock }

func (c patientClock) AfterFunc(d time.Duration, f func()) gtcpip.Timer {
	return patientTimer{c.Clock.AfterFunc(atLeast(d), f)}
}

type patientTimer struct{ gtcpip.Timer }

func (t patientTimer) Reset(d time.Duration) { t.Timer.Reset(atLeast(d)) }

// engineClock makes a Clock of ours the engine's.
type engineClock struct {
	c     Clock
	start time.Time // from which the engine's monotonic time counts
}

func (c engineClock) Now() time.Time { return c.c.Now() }

func (c engineClock) NowMonotonic() gtcpip.MonotonicTime {
	var zero gtcpip.MonotonicTime
	// Not since a fixed date: that would be the wall clock, which may be set back,
	// and the engine panics when its time is. It takes time 0 for none.
	return zero.Add(c.c.Now().Sub(c.start) + time.Second)
}

func (c engineClock) AfterFunc(d time.Duration, f func()) gtcpip.Timer {
	return engineTimer{c.c.AfterFunc(d, f)}
}

type engineTimer struct{ Timer }

// Reset implements the engine's Timer, which reports nothing.
func (t engineTimer) Reset(d time.Duration) { t.Timer.Reset(d) }

// lockedSource is a rand.Source that may be used at once, which the engine
// demands.
type lockedSource struct {
	mu  sync.Mutex
	src *rand.ChaCha8
}

func newSource(r io.Reader) *lockedSource {
	var seed [32]byte
	_, _ = io.ReadFull(r, seed[:]) // a short seed is still a seed
	return &lockedSource{src: rand.NewChaCha8(seed)}
}

// Int63 implements math/rand.Source.
func (s *lockedSource) Int63() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.src.Uint64() >> 1)
}

// Seed implements math/rand.Source; the seed is given at construction.
func (s *lockedSource) Seed(int64) {}

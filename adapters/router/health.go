package router

import (
	"context"
	"sync"
	"time"
)

// soonest is how long after the checks began the next may begin, however many dials fail.
const soonest = time.Second

// run checks all members until ctx ends.
func (f *Failover) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		f.checkAll(ctx)
		// A failed dial, and a member that is on its way down, have the next come early.
		due, early := began.Add(f.interval), began.Add(min(f.interval, soonest))
		if f.wavers() {
			due = early
		}
		if sleep(ctx, due, f.early) {
			sleep(ctx, early, nil)
		}
	}
}

// sleep waits until a time, and reports whether it was woken before.
func sleep(ctx context.Context, until time.Time, wake <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-wake:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// wavers tells whether a member has failed, but not often enough to be down.
func (f *Failover) wavers() bool {
	for _, m := range f.members {
		m.mu.Lock()
		wavers := m.failed > 0 && !m.down
		m.mu.Unlock()
		if wavers {
			return true
		}
	}
	return false
}

// checkAll checks all members at once, and chooses.
func (f *Failover) checkAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	var checks sync.WaitGroup
	for _, m := range f.members {
		checks.Go(func() { // awaited below; at most maxMembers
			began := time.Now()
			err := m.check(ctx)
			m.checked(err, time.Since(began), f.failures)
		})
	}
	checks.Wait()
	if ctx.Err() == context.Canceled {
		return // closed: what failed has failed by that
	}
	f.choose()
}

// checked notes what came of a check.
func (m *member) checked(err error, took time.Duration, failures int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks++
	m.took, m.err = took, err
	was := m.down
	if err == nil {
		m.failed, m.down = 0, false
	} else {
		m.failed++
		m.checksFailed++
		m.down = m.failed >= failures
	}
	if was != m.down {
		m.since = time.Now()
	}
}

// choose takes the first member that is well, and says so if that is another.
func (f *Failover) choose() {
	was := int(f.used.Load())
	now := f.next(-1)
	if now < 0 {
		if !f.down.Swap(true) {
			f.used.Store(0)
			f.log.Warn("failover: no outbound is well", "failover", f.name, "used", f.members[0].Name, "err", f.members[0].lastError())
		}
		return
	}
	f.used.Store(int32(now))
	back := f.down.Swap(false)
	switch {
	case now > was:
		f.log.Warn("failover: the next outbound is used", "failover", f.name, "used", f.members[now].Name, "before", f.members[was].Name, "err", f.members[was].lastError())
	case now < was, back:
		f.log.Info("failover: an outbound is well again", "failover", f.name, "used", f.members[now].Name, "before", f.members[was].Name)
	}
}

func (m *member) lastError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Health is what a Failover knows of one of its outbounds.
type Health struct {
	Name  string        // of the outbound
	Used  bool          // new flows go by it
	Down  bool          // it has failed its checks
	Since time.Time     // when Down changed, or when the checks began
	Took  time.Duration // the last check
	Err   error         // why that failed; nil if it did not

	Checks, ChecksFailed uint64 // so far
	Dials                uint64 // by DialContext, DialEarly and ListenPacket
	DialsFailed          uint64 // of them by the proxy's fault
}

// Health returns what is known of the outbounds, in their order.
func (f *Failover) Health() []Health {
	all := make([]Health, 0, len(f.members))
	used := int(f.used.Load())
	for i, m := range f.members {
		m.mu.Lock()
		all = append(all, Health{
			Name: m.Name, Used: i == used, Down: m.down, Since: m.since, Took: m.took, Err: m.err,
			Checks: m.checks, ChecksFailed: m.checksFailed, Dials: m.dials, DialsFailed: m.dialsFailed,
		})
		m.mu.Unlock()
	}
	return all
}

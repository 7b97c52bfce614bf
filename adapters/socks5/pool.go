package socks5

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"l3extract/adapters/internal/hop"
)

const defaultPoolIdle = 20 * time.Second

// maxFilling bounds the dials that fill a pool at once.
const maxFilling = 8

// pool holds greeted connections. How many it is to hold doubles with each dial that
// finds it empty, and is one less with each connection that nobody needed in time.
type pool struct {
	mu      sync.Mutex
	idle    []warm // the oldest first
	want    int
	filling int
	closed  bool
	era     int                // counts calls of endVia
	sweep   *time.Timer        // runs expire when the oldest is due; nil before the first
	ctx     context.Context    // of filling
	cancel  context.CancelFunc // nil before the first
	runs    sync.WaitGroup     // the goroutines that fill, awaited by close
}

type warm struct {
	conn  net.Conn
	until time.Time
}

func (d *Dialer) poolIdle() time.Duration {
	if d.PoolIdle > 0 {
		return d.PoolIdle
	}
	return defaultPoolIdle
}

// take returns the youngest connection that lives, or nil, and has the pool filled.
func (p *pool) take(d *Dialer) net.Conn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.want = min(max(1, 2*p.want), d.Pool)
			p.mu.Unlock()
			return nil
		}
		w := p.idle[n-1]
		p.idle[n-1] = warm{}
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if hop.Quiet(w.conn) {
			p.fill(d)
			return w.conn
		}
		d.poolDead.Add(1)
		_ = w.conn.Close()
	}
}

// fill starts what is wanted and not there.
func (p *pool) fill(d *Dialer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && len(p.idle)+p.filling < p.want && p.filling < maxFilling {
		if p.cancel == nil {
			p.ctx, p.cancel = context.WithCancel(context.Background())
		}
		p.filling++
		era := p.era
		p.runs.Go(func() { p.add(d, era) }) // ends with the dial; awaited by close
	}
}

// add dials and greets for the pool. If that fails the pool waits for a dial that
// succeeds. What was begun before an endVia may have lost its way.
func (p *pool) add(d *Dialer, era int) {
	c, err := d.prepare(p.ctx)
	p.mu.Lock()
	p.filling--
	switch {
	case err != nil:
		p.want = min(p.want, 1)
	case !p.closed && p.era == era:
		p.idle = append(p.idle, warm{c, time.Now().Add(d.poolIdle())})
		if p.sweep == nil {
			p.sweep = time.AfterFunc(d.poolIdle(), func() { p.expire(d) })
		} else if len(p.idle) == 1 {
			p.sweep.Reset(d.poolIdle())
		}
		c = nil
	}
	p.mu.Unlock()
	if err == nil && c != nil {
		_ = c.Close()
	}
}

// prepare returns a connection that is ready for a request.
func (d *Dialer) prepare(ctx context.Context) (net.Conn, error) {
	p := d.proxy()
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.greet(ctx, p, c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// expire closes what has been idle for too long.
func (p *pool) expire(d *Dialer) {
	p.mu.Lock()
	now := time.Now()
	n := 0
	for n < len(p.idle) && !p.idle[n].until.After(now) {
		n++
	}
	old := append([]warm(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.want = max(1, p.want-n)
	if len(p.idle) > 0 && !p.closed {
		p.sweep.Reset(p.idle[0].until.Sub(now))
	}
	p.mu.Unlock()
	d.poolExpired.Add(uint64(n))
	for _, w := range old {
		_ = w.conn.Close()
	}
}

// endVia closes what lost reports.
func (p *pool) endVia(d *Dialer, lost func(local netip.Addr, index int) bool) {
	p.mu.Lock()
	p.era++
	idle := slices.Clone(p.idle)
	p.mu.Unlock()
	stays := make(map[net.Conn]bool)
	for _, w := range idle {
		stays[w.conn] = !lost(hop.Via(w.conn))
	}
	p.mu.Lock()
	var gone []net.Conn
	p.idle = slices.DeleteFunc(p.idle, func(w warm) bool {
		stay, asked := stays[w.conn]
		if asked && !stay {
			gone = append(gone, w.conn)
		}
		return asked && !stay
	})
	if len(p.idle) == 0 && p.sweep != nil {
		p.sweep.Stop() // the next to come starts it
	}
	p.mu.Unlock()
	d.poolDead.Add(uint64(len(gone)))
	for _, c := range gone {
		_ = c.Close()
	}
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	old := p.idle
	p.idle = nil
	if p.sweep != nil {
		p.sweep.Stop()
	}
	if p.cancel != nil {
		p.cancel()
	}
	p.mu.Unlock()
	for _, w := range old {
		_ = w.conn.Close()
	}
	p.runs.Wait()
}

package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
)

const (
	// Queries share connections, each up to this many. When all have so many another is
	// opened, up to maxPipelines; then they get more.
	maxInPipeline = 100
	maxPipelines  = 8
)

// streams is an upstream over TCP or TLS: a few connections with many queries in each,
// answered in any order (RFC 7766, 6.2.1.1).
type streams struct {
	*target
	tls   *tls.Config // nil: TCP
	stats upstreamCounters
	group sync.WaitGroup // the readers of pipelines; Close awaits it

	mu     sync.Mutex
	closed bool
	lines  []*pipeline // that take queries
	all    map[*pipeline]struct{}
	dial   *dialling // nil: none under way
}

// dialling is a dial that others wait for.
type dialling struct {
	done chan struct{}
	err  error
}

func newStreams(t *target, c *tls.Config) *streams {
	return &streams{target: t, tls: c, all: make(map[*pipeline]struct{})}
}

func (u *streams) String() string {
	if u.tls != nil {
		return "tls://" + u.target.String()
	}
	return "tcp://" + u.target.String()
}

func (u *streams) account() []UpstreamStats { return u.stats.stats(u.String()) }

func (u *streams) Exchange(ctx context.Context, query []byte) (response []byte, err error) {
	defer func() { u.stats.ended(err) }()
	ctx, cancel := u.options.within(ctx)
	defer cancel()
	if u.tls != nil {
		query = padded(query)
	}
	for {
		p, reused, err := u.take(ctx)
		if err != nil {
			return nil, err
		}
		response, err := p.exchange(ctx, query)
		if err == nil || !reused || ctx.Err() != nil || !p.broken() {
			return response, err
		}
		// A server may close an idle connection at any time, also while we write to it:
		// then a fresh one is asked.
	}
}

// take returns a pipeline with a place for a query in it, and whether it was open.
func (u *streams) take(ctx context.Context) (p *pipeline, reused bool, err error) {
	for {
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			return nil, false, net.ErrClosed
		}
		p := u.emptiest()
		if p != nil && (p.load < maxInPipeline || len(u.lines) >= maxPipelines) {
			p.load++
			u.mu.Unlock()
			u.stats.reused.Add(1)
			return p, true, nil
		}
		if d := u.dial; d != nil {
			u.mu.Unlock()
			select {
			case <-d.done:
				// Its time may have been another's; what it was told of the server is ours.
				if d.err != nil && !errors.Is(d.err, context.Canceled) {
					return nil, false, d.err
				}
			case <-ctx.Done():
				return nil, false, ended(ctx, u.target)
			}
			continue
		}
		d := &dialling{done: make(chan struct{})}
		u.dial = d
		u.mu.Unlock()
		p, d.err = u.connect(ctx)
		u.mu.Lock()
		u.dial = nil
		if d.err == nil && u.closed {
			d.err = net.ErrClosed
			_ = p.conn.Close()
		}
		if d.err == nil {
			p.load = 1
			u.lines = append(u.lines, p)
			u.all[p] = struct{}{}
			u.group.Go(p.read)
			u.stats.opened.Add(1)
		}
		close(d.done)
		u.mu.Unlock()
		return p, false, d.err
	}
}

// emptiest returns the pipeline with the fewest queries. The lock is held.
func (u *streams) emptiest() *pipeline {
	var best *pipeline
	for _, p := range u.lines {
		if best == nil || p.load < best.load {
			best = p
		}
	}
	return best
}

func (u *streams) connect(ctx context.Context) (*pipeline, error) {
	c, err := u.target.dial(ctx)
	if err != nil {
		return nil, err
	}
	if u.tls != nil {
		t := tls.Client(c, u.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			if ctx.Err() != nil {
				return nil, ended(ctx, u.target)
			}
			return nil, &net.OpError{Op: "dial", Net: "tls", Addr: c.RemoteAddr(), Err: err}
		}
		c = t
	}
	return newPipeline(u, c), nil
}

// retire has p take no more queries.
func (u *streams) retire(p *pipeline) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, other := range u.lines {
		if other == p {
			u.lines = append(u.lines[:i], u.lines[i+1:]...)
			return
		}
	}
}

// Close implements Upstream. Exchanges that are under way fail.
func (u *streams) Close() error {
	u.mu.Lock()
	u.closed = true
	open := u.all
	u.all = make(map[*pipeline]struct{})
	u.mu.Unlock()
	for p := range open {
		p.fail(net.ErrClosed)
	}
	u.group.Wait()
	return nil
}

// ended is the error of what ctx has ended.
func ended(ctx context.Context, t *target) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		cause = os.ErrDeadlineExceeded
	}
	return &net.OpError{Op: "exchange", Net: "tcp", Addr: name(t.String()), Err: cause}
}

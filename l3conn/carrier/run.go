package carrier

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"l3extract/l3conn"
)

// Run calls Config.Dial whenever there is no carrier, with pauses as Config says, and
// makes what it returns the carrier. It returns nil after Close, the cause of ctx when
// that ends, which leaves the Conn as it is, and else the end of the Conn. A second Run
// at once is an error.
func (c *Conn) Run(ctx context.Context) error {
	if c.cfg.Dial == nil {
		return opError("run", errors.New("Config.Dial is nil"))
	}
	c.mu.Lock()
	again := c.running
	c.running = true
	c.mu.Unlock()
	if again {
		return opError("run", errors.New("it runs already"))
	}
	defer func() {
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
	}()
	pause := c.cfg.MinBackoff
	for {
		started := time.Now()
		err := c.dial(ctx)
		if err == nil {
			err = c.await(ctx, -1) // until it is lost
		}
		if p := (*permanent)(nil); errors.As(err, &p) {
			c.end(final(p.error))
		}
		if err := c.finished(ctx); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if err == nil && time.Since(started) > pause {
			pause = c.cfg.MinBackoff
			continue
		}
		// A carrier that somebody else brings meanwhile ends the pause, and is awaited.
		_ = c.await(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, c.cfg.MaxBackoff)
	}
}

// dial makes one attempt, unless there is a carrier.
func (c *Conn) dial(ctx context.Context) error {
	if c.present.Load() != nil {
		return nil
	}
	if c.cfg.DialTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.DialTimeout)
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() { // ends with the attempt, which awaits it: the end of the Conn ends a Dial
		defer close(watching)
		for {
			c.mu.Lock()
			over, changed := c.over, c.changed
			c.mu.Unlock()
			if over != nil {
				cancel(over)
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	conn, err := c.cfg.Dial(ctx)
	cancel(nil)
	<-watching
	c.mu.Lock()
	c.tally.Dials++
	c.mu.Unlock()
	if err == nil {
		if err = c.Replace(conn); err != nil {
			if closer := l3conn.Probe(conn).Closer; closer != nil {
				_ = closer.Close() // nobody else has it
			}
		}
	}
	if err != nil {
		c.mu.Lock()
		c.tally.DialErrors++
		if c.present.Load() == nil {
			c.last = err
		}
		c.mu.Unlock()
	}
	return err
}

// finished returns why there is nothing more to do, nil if there is.
func (c *Conn) finished(ctx context.Context) error {
	c.mu.Lock()
	over := c.over
	c.mu.Unlock()
	if over != nil {
		return opError("run", over)
	}
	return context.Cause(ctx)
}

// await waits for the end of the carrier or, where there is none, for one, at most for
// pause if that is not negative.
func (c *Conn) await(ctx context.Context, pause time.Duration) error {
	var over <-chan time.Time
	if pause >= 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		over = timer.C
	}
	had := c.present.Load()
	for {
		c.mu.Lock()
		present, changed := c.present.Load(), c.changed
		done := c.over != nil || (had == nil) != (present == nil)
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

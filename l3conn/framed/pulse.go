package framed

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// pulse sends keepalives and judges the peer's silence, by one timer. Times are
// nanoseconds since birth.
type pulse struct {
	birth time.Time
	// waiting is since when a Read of the stream waits, 0 while none does; spoke is
	// when the last Write ended.
	waiting, spoke atomic.Int64
	why            atomic.Pointer[error] // the peer's silence; set before the stream is closed

	beats sync.WaitGroup // of the timer's goroutine
	beatm sync.Mutex     // guards what follows
	timer *time.Timer    // nil: neither is configured
	over  bool
}

// begin starts the timer, if there is something to do for it.
func (c *Conn) begin() {
	c.birth = time.Now()
	if first := shortest(c.cfg.Keepalive, c.cfg.PeerTimeout); first > 0 {
		c.beatm.Lock() // beat finds the timer set
		c.timer = time.AfterFunc(first, c.beat)
		c.beatm.Unlock()
	}
}

// shortest returns the shorter of those durations that are not 0.
func shortest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// stop ends the timer; await waits for the beats that have begun.
func (c *Conn) stop() {
	c.beatm.Lock()
	defer c.beatm.Unlock()
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

func (c *Conn) await() { c.beats.Wait() }

// now is never 0.
func (c *Conn) now() int64 { return int64(time.Since(c.birth)) | 1 }

// waits and waited surround a Read of the stream, wrote comes after a Write.
func (c *Conn) waits() {
	if c.cfg.PeerTimeout > 0 {
		c.waiting.Store(c.now())
	}
}

func (c *Conn) waited() {
	if c.cfg.PeerTimeout > 0 {
		c.waiting.Store(0)
	}
}

func (c *Conn) wrote() {
	if c.cfg.Keepalive > 0 {
		c.spoke.Store(c.now())
	}
}

// beat runs on the timer's goroutine, which Close waits for.
func (c *Conn) beat() {
	now := c.now()
	c.beatm.Lock()
	if c.over {
		c.beatm.Unlock()
		return
	}
	c.beats.Add(1)
	defer c.beats.Done()
	silence := time.Duration(0)
	if since := c.waiting.Load(); since != 0 {
		silence = time.Duration(now - since)
	}
	dead := c.cfg.PeerTimeout > 0 && silence >= c.cfg.PeerTimeout
	idle := time.Duration(now - c.spoke.Load())
	due := c.cfg.Keepalive > 0 && idle >= c.cfg.Keepalive
	if !dead {
		// Before the keepalive is written: that may wait for a peer which does not read.
		c.timer.Reset(c.next(silence, idle, due))
	}
	c.beatm.Unlock()
	switch {
	case dead:
		c.die(silence)
	case due:
		c.keepalive()
	}
}

// next is when to look again.
func (c *Conn) next(silence, idle time.Duration, due bool) time.Duration {
	speak, judge := c.cfg.Keepalive, c.cfg.PeerTimeout
	if speak > 0 && !due {
		speak -= idle
	}
	if judge > 0 {
		judge -= silence
	}
	return max(shortest(speak, judge), time.Millisecond)
}

// die ends the conn: its Read and Write find the stream closed, and why.
func (c *Conn) die(silence time.Duration) {
	err := error(silent{fmt.Errorf("nothing came from the peer for %v", silence.Round(time.Millisecond))})
	c.why.Store(&err)
	_ = c.closeStream() // its error is less than the silence
}

// keepalive sends an empty frame, unless a Write is under way, which says as much.
func (c *Conn) keepalive() {
	w := &c.out
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	if c.startWrite() != nil || c.room(0) != nil {
		return
	}
	w.length(c, 0)
	if c.flush() == nil {
		c.counters.keepalivesOut.Add(1)
	}
}

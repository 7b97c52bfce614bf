package link

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// fake is a conn whose calls the test answers. It has neither deadlines nor Close;
// the types below add them.
type fake struct {
	reads  chan read       // what the next Reads give
	writes chan []byte     // what was written; a full channel makes Write wait
	fault  func(int) error // of the nth Write; nil: none
	ended  chan struct{}   // ends all that waits, with why
	why    error
	once   sync.Once

	mu      sync.Mutex
	written int
	past    [2]bool // the read and the write deadline have passed
	closed  bool
}

type read struct {
	b   []byte
	err error
}

func newFake() *fake {
	return &fake{reads: make(chan read), writes: make(chan []byte, 1024), ended: make(chan struct{})}
}

func (c *fake) Read(b []byte) (int, error) {
	select {
	case r := <-c.reads:
		return copy(b, r.b), r.err
	case <-c.ended:
		return 0, c.why
	}
}

func (c *fake) Write(b []byte) (int, error) {
	c.mu.Lock()
	n := c.written
	c.written++
	c.mu.Unlock()
	if c.fault != nil {
		if err := c.fault(n); err != nil {
			return 0, err
		}
	}
	select {
	case c.writes <- append([]byte(nil), b...):
		return len(b), nil
	case <-c.ended:
		return 0, c.why
	}
}

// end ends what waits.
func (c *fake) end(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.ended)
	})
}

// deadline sets one deadline; one in the past ends all that waits.
func (c *fake) deadline(side int, t time.Time) {
	c.mu.Lock()
	c.past[side] = !t.IsZero()
	c.mu.Unlock()
	if !t.IsZero() {
		c.end(os.ErrDeadlineExceeded)
	}
}

type (
	closer        struct{ *fake }
	readDeadline  struct{ *fake }
	writeDeadline struct{ *fake }
	refuses       struct{ closer } // has SetReadDeadline, which does not work
	direct        struct{ *fake }
)

func (c closer) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end(net.ErrClosed)
	return nil
}
func (c readDeadline) SetReadDeadline(t time.Time) error { c.deadline(0, t); return nil }
func (c writeDeadline) SetReadDeadline(t time.Time) error {
	c.deadline(0, t)
	return nil
}
func (c writeDeadline) SetWriteDeadline(t time.Time) error { c.deadline(1, t); return nil }
func (refuses) SetReadDeadline(time.Time) error            { return os.ErrNoDeadline }
func (direct) DirectWrite()                                {}

// rig is a Link with its counters.
type rig struct {
	*Link
	drops   drop.Counters
	granted int64
}

func newRig(conn l3conn.Conn, mtu int) *rig {
	r := &rig{granted: 64 << 10}
	r.Link = New(Config{Conn: conn, MTU: mtu, Drops: &r.drops, Granted: func() int64 { return r.granted }})
	return r
}

// send queues a packet of n bytes that begins with mark.
func (r *rig) send(n int, mark byte, c Class) bool {
	f := r.Frame(n)
	f.Bytes()[0] = mark
	return r.Send(f, c)
}

// write runs the writer until the test ends it by the returned function.
func (r *rig) write(ctx context.Context) (done chan struct{}) {
	done = make(chan struct{})
	go func() { // ends by ctx, Stop or the conn
		defer close(done)
		r.Write(ctx)
	}()
	return done
}

// want compares the drop counters with what is expected of them; all others are 0.
func (r *rig) want(t *testing.T, want map[drop.Cause]uint64) {
	t.Helper()
	got := r.drops.Snapshot()
	for c, n := range want {
		if n > 0 && got[c.String()] != n {
			t.Errorf("%v: %d, want %d", c, got[c.String()], n)
		}
		delete(got, c.String())
	}
	for name, n := range got {
		t.Errorf("%s: %d, want 0", name, n)
	}
}

// failedWith waits for the link's failure, which is want.
func (r *rig) failedWith(t *testing.T, want error) {
	t.Helper()
	<-r.Broken()
	if err := r.Err(); !errors.Is(err, want) {
		t.Errorf("failure: %v, want %v", err, want)
	}
}

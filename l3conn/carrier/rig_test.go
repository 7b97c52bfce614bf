package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"l3extract/l3conn"
)

func mustNew(t testing.TB, c Config) *Conn {
	t.Helper()
	conn, err := New(&c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// bare hides all but Read, Write and Close.
type bare struct{ p *l3conn.PipeEnd }

func (b bare) Read(p []byte) (int, error)  { return b.p.Read(p) }
func (b bare) Write(p []byte) (int, error) { return b.p.Write(p) }
func (b bare) Close() error                { return b.p.Close() }

// cable is a link between two Conns that can be cut and is laid anew by dial.
type cable struct {
	t    testing.TB
	far  *Conn
	make func() (x, y l3conn.Conn)

	mu      sync.Mutex
	near    l3conn.Conn
	broken  error // of dials; nil: they work
	dials   int
	dialled chan struct{} // one for each success, as long as there is room
}

func newCable(t testing.TB, far *Conn) *cable {
	return &cable{t: t, far: far, dialled: make(chan struct{}, 1<<10), make: func() (x, y l3conn.Conn) {
		return l3conn.BatchPipe(0, 0, 0)
	}}
}

func (c *cable) dial(ctx context.Context) (l3conn.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	if c.broken != nil {
		return nil, c.broken
	}
	x, y := c.make()
	if c.far != nil {
		if err := c.far.Replace(y); err != nil {
			return nil, err
		}
	}
	c.near = x
	select {
	case c.dialled <- struct{}{}:
	default:
	}
	return x, nil
}

// cut ends the carrier, as it looks to both ends.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.near != nil {
		_ = l3conn.Probe(c.near).Closer.Close()
	}
}

// count returns how often it was dialled.
func (c *cable) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials
}

// fail makes dials fail; nil makes them work.
func (c *cable) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

// runs runs c until the test ends.
func runs(t testing.TB, c *Conn) (done chan error) {
	done = make(chan error, 1)
	ended := make(chan struct{})
	go func() { // ends with c
		defer close(ended)
		done <- c.Run(context.Background())
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return done
}

// packet is a packet that carries a number.
func packet(seq int) []byte {
	p := make([]byte, 40)
	p[0] = 0x45
	binary.BigEndian.PutUint32(p[20:], uint32(seq))
	return p
}

func seqOf(p []byte) int { return int(binary.BigEndian.Uint32(p[20:])) }

// collect reads c until it is over and gives the numbers in order.
func collect(c *Conn) <-chan int {
	out := make(chan int, 1<<16)
	go func() { // ends with c
		defer close(out)
		bufs, sizes := make([][]byte, 100), make([]int, 100)
		for i := range bufs {
			bufs[i] = make([]byte, 1500)
		}
		for {
			n, err := c.ReadBatch(bufs, sizes)
			for i := range n {
				out <- seqOf(bufs[i][:sizes[i]])
			}
			if err != nil && !l3conn.Transient(err) {
				return
			}
		}
	}()
	return out
}

var errNoWay = errors.New("no way")

// isClosed reports whether err is the end by Close.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

const second = time.Second

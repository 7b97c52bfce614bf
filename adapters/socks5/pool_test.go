package socks5

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/outbound"
)

// pooled is a proxy that counts, and lets the test end its idle connections.
type pooled struct {
	dials   atomic.Int64
	greeted chan *net.TCPConn // holds those that wait for a request
}

func newPooled(t *testing.T, d *Dialer) *pooled {
	p := &pooled{greeted: make(chan *net.TCPConn, 100)}
	d.Address = serve(t, func(c *net.TCPConn) {
		p.dials.Add(1)
		if !play(t, c, greeting) {
			return
		}
		p.greeted <- c
		if play(t, c, connect4) {
			fakeproxy.Echo(c)
		}
	})
	t.Cleanup(func() { _ = d.Close() })
	return p
}

// until waits for what another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func dialEcho(t *testing.T, d *Dialer) {
	t.Helper()
	c, err := d.DialContext(soon(t), "tcp", "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("a %T, want a *net.TCPConn", c)
	}
	wantEcho(t, c)
}

// TestPool: the second dial takes an idle connection, which is replaced; there are
// never more than Pool.
func TestPool(t *testing.T) {
	d := &Dialer{Pool: 2}
	p := newPooled(t, d)
	dialEcho(t, d)
	<-p.greeted // that of the dial
	for range 5 {
		<-p.greeted // there is an idle one
		until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
		dialEcho(t, d)
	}
	<-p.greeted
	until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
	if s := d.Stats(); s.PoolHits != 5 || s.PoolMisses != 1 || p.dials.Load() != 7 {
		t.Errorf("%+v, %d dials, want 5 hits, 1 miss, 7 dials", s, p.dials.Load())
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if n := d.Stats().PoolIdle; n != 0 {
		t.Errorf("%d idle connections after Close", n)
	}
	dialEcho(t, d)
	if n := d.Stats().PoolIdle; n != 0 {
		t.Errorf("%d idle connections after Close and a dial", n)
	}
}

// TestPoolBound: a rush makes the pool grow to Pool and no further.
func TestPoolBound(t *testing.T) {
	const size = 3
	d := &Dialer{Pool: size}
	newPooled(t, d)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { dialEcho(t, d) })
	}
	wg.Wait()
	until(t, "a full pool", func() bool { return d.Stats().PoolIdle == size })
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	if d.pool.want != size || d.pool.filling != 0 {
		t.Errorf("want %d, filling %d", d.pool.want, d.pool.filling)
	}
}

// TestPoolDead: idle connections that the proxy has ended harm nobody, whether that
// has been seen or is found out by the request.
func TestPoolDead(t *testing.T) {
	for _, how := range []string{"closed", "reset", "spoke"} {
		t.Run(how, func(t *testing.T) {
			d := &Dialer{Pool: 1}
			p := newPooled(t, d)
			dialEcho(t, d)
			<-p.greeted
			c := <-p.greeted
			until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
			switch how {
			case "closed":
				_ = c.Close()
			case "reset":
				_ = c.SetLinger(0)
				_ = c.Close()
			case "spoke":
				_, _ = c.Write([]byte("time is up"))
			}
			dialEcho(t, d)
			if s := d.Stats(); s.PoolDead != 1 {
				t.Errorf("%+v, want one that was dead", s)
			}
		})
	}
}

// TestPoolEndVia: an idle connection that has lost its way is closed, others stay, and what
// is on its way to the Pool meanwhile does not get there.
func TestPoolEndVia(t *testing.T) {
	d := &Dialer{Pool: 1}
	p := newPooled(t, d)
	dialEcho(t, d)
	until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
	var asked netip.Addr
	d.EndVia(func(local netip.Addr, index int) bool { asked = local; return index != 0 })
	if s := d.Stats(); s.PoolIdle != 1 || asked != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v, asked about %v", s, asked)
	}
	d.EndVia(func(netip.Addr, int) bool { return true })
	if s := d.Stats(); s.PoolIdle != 0 || s.PoolDead != 1 {
		t.Errorf("%+v, want none that is idle", s)
	}
	<-p.greeted
	if _, err := (<-p.greeted).Read(make([]byte, 1)); err == nil {
		t.Error("the proxy hears more of it")
	}
	dialEcho(t, d)
	until(t, "another", func() bool { return d.Stats().PoolIdle == 1 })

	d.pool.mu.Lock()
	era := d.pool.era
	d.pool.filling++
	d.pool.mu.Unlock()
	d.EndVia(func(netip.Addr, int) bool { return false })
	d.pool.add(d, era)
	if s := d.Stats(); s.PoolIdle != 1 {
		t.Errorf("%+v, want what was begun before to be closed", s)
	}
}

// TestPoolTells: whoever asked hears of a connection that is taken out of the Pool.
func TestPoolTells(t *testing.T) {
	d := &Dialer{Pool: 1}
	newPooled(t, d)
	dialEcho(t, d)
	until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
	var told atomic.Int64
	c, err := d.DialContext(outbound.WithSocket(soon(t), func(syscall.RawConn) { told.Add(1) }), "tcp", "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if told.Load() != 1 || d.Stats().PoolHits != 1 {
		t.Errorf("told of %d sockets, %+v", told.Load(), d.Stats())
	}
}

// TestPoolStale: the proxy ends the connection when the request comes.
func TestPoolStale(t *testing.T) {
	var n atomic.Int64
	d := &Dialer{Pool: 1}
	d.Address = serve(t, func(c *net.TCPConn) {
		if n.Add(1) == 2 { // that for the pool
			play(t, c, greeting, step{Want: connect4.Want})
			return
		}
		if play(t, c, greeting, connect4) {
			fakeproxy.Echo(c)
		}
	})
	defer d.Close()
	dialEcho(t, d)
	until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
	dialEcho(t, d)
	if s := d.Stats(); s.PoolDead != 1 || s.PoolHits != 1 {
		t.Errorf("%+v, want one that was dead", s)
	}
}

// TestPoolExpires: what nobody needs goes, and is not replaced. On a clock of the
// test's own, with pipes for connections.
func TestPoolExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dialer{Address: "proxy.example:1080", Pool: 4, PoolIdle: time.Minute, Dialer: pipes{t}}
		dial := func() {
			c, err := d.DialContext(t.Context(), "tcp", "192.0.2.1:80")
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			synctest.Wait()
		}
		dial()
		time.Sleep(time.Second)
		d.pool.mu.Lock()
		d.pool.want = 3
		d.pool.mu.Unlock()
		dial()
		if got := d.Stats().PoolIdle; got != 3 {
			t.Fatalf("%d idle, want 3", got)
		}
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		if got := d.Stats().PoolIdle; got != 3 {
			t.Errorf("%d idle just before the minute is over, want 3", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if s := d.Stats(); s.PoolIdle != 0 || s.PoolExpired != 3 {
			t.Errorf("%+v after a minute, want none idle and 3 expired", s)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := d.Stats().PoolIdle; got != 0 {
			t.Errorf("%d idle after an hour, want 0", got)
		}
		_ = d.Close()
	})
}

// pipes is a way to a proxy without a network.
type pipes struct{ t *testing.T }

func (p pipes) DialContext(_ context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { // ends with the conn
		defer far.Close()
		if play(p.t, far, greeting) && play(p.t, far, connect4) {
			_, _ = far.Read(make([]byte, 1))
		}
	}()
	return near, nil
}

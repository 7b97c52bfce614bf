package epoll

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// handlerFunc is a Handler.
type handlerFunc func(events uint32)

func (f handlerFunc) Ready(events uint32) { f(events) }

func newPoller(t testing.TB) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// start runs p and returns what waits for its end.
func start(t testing.TB, ctx context.Context, p *Poller) (ended <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	var ran sync.WaitGroup
	ran.Go(func() { done <- p.Run(ctx) })
	t.Cleanup(func() {
		_ = p.Close()
		ran.Wait()
	})
	return done
}

// counter is an eventfd: readable while it is not zero.
type counter int

func newCounter(t testing.TB) counter {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	return counter(fd)
}

func (c counter) signal(t testing.TB) {
	if _, err := unix.Write(int(c), one[:]); err != nil {
		t.Error(err)
	}
}

// one is what signal adds: the first and the last byte, for either byte order, are
// not zero.
var one = [8]byte{0: 1, 7: 1}

// take returns whether there was something.
func (c counter) take() bool {
	b := words.Get().(*[8]byte)
	defer words.Put(b)
	_, err := unix.Read(int(c), b[:])
	return err == nil
}

var words = sync.Pool{New: func() any { return new([8]byte) }}

func (c counter) close() { _ = unix.Close(int(c)) }

func add(t testing.TB, p *Poller, c counter, events uint32, h handlerFunc) *Registration {
	t.Helper()
	r, err := p.Add(int(c), events, h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTellsOfWhatHappens(t *testing.T) {
	for name, events := range map[string]uint32{"levels": unix.EPOLLIN, "edges": unix.EPOLLIN | unix.EPOLLET} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t)
			c := newCounter(t)
			defer c.close()
			c.signal(t) // before Add, and before Run
			got := make(chan uint32)
			add(t, p, c, events, func(e uint32) {
				if c.take() {
					got <- e
				}
			})
			start(t, t.Context(), p)
			for range 100 {
				if e := <-got; e != unix.EPOLLIN {
					t.Fatalf("events %#x", e)
				}
				c.signal(t)
			}
			<-got
		})
	}
}

// TestLevelsAreToldAgain: what a Handler leaves is told again without edges, and
// with them after Modify.
func TestLevelsAreToldAgain(t *testing.T) {
	for name, edges := range map[string]bool{"levels": false, "edges and Modify": true} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t)
			c := newCounter(t)
			defer c.close()
			events := uint32(unix.EPOLLIN)
			if edges {
				events |= unix.EPOLLET
			}
			var r *Registration
			calls, done := 0, make(chan struct{})
			r = add(t, p, c, events, func(uint32) {
				switch calls++; {
				case calls == 10:
					c.take()
					close(done)
				case edges:
					if err := r.Modify(events); err != nil {
						t.Error(err)
					}
				}
			})
			c.signal(t)
			start(t, t.Context(), p)
			<-done
		})
	}
}

// TestManyInOneBatch: more descriptors than one system call reports, each of them
// told of.
func TestManyInOneBatch(t *testing.T) {
	const n = 3*batch + 1
	p := newPoller(t)
	var told sync.WaitGroup
	told.Add(n)
	for range n {
		c := newCounter(t)
		defer c.close()
		c.signal(t)
		add(t, p, c, unix.EPOLLIN|unix.EPOLLET, func(uint32) { told.Done() })
	}
	if p.Len() != n {
		t.Errorf("%d descriptors, want %d", p.Len(), n)
	}
	start(t, t.Context(), p)
	told.Wait()
}

// TestRemovedIsNotTold: of two that are ready at once the first removes, closes and
// replaces the other, whose number and place the newcomer gets. The event in flight
// is neither's.
func TestRemovedIsNotTold(t *testing.T) {
	p := newPoller(t)
	cs := []counter{newCounter(t), newCounter(t)}
	var rs [2]*Registration
	var calls, late int
	done := make(chan struct{})
	for i, c := range cs {
		c.signal(t)
		rs[i] = add(t, p, c, unix.EPOLLIN|unix.EPOLLET, func(uint32) {
			calls++
			other := 1 - i
			rs[other].Remove()
			cs[other].close()
			fresh := newCounter(t)
			if fresh != cs[other] {
				t.Errorf("the system gave number %d, not %d again", fresh, cs[other])
			}
			cs[other] = fresh
			r := add(t, p, fresh, unix.EPOLLIN|unix.EPOLLET, func(uint32) { late++ })
			if r.index != rs[other].index {
				t.Errorf("place %d, want %d again", r.index, rs[other].index)
			}
			last := newCounter(t) // tells that the events of this batch are all done
			cs = append(cs, last)
			last.signal(t)
			add(t, p, last, unix.EPOLLIN|unix.EPOLLET, func(uint32) { close(done) })
		})
	}
	start(t, t.Context(), p)
	<-done
	_ = p.Close()
	if calls != 1 || late != 0 {
		t.Errorf("%d calls of the two, want 1; %d of the newcomer, want 0", calls, late)
	}
	for _, c := range cs {
		c.close()
	}
}

func TestRemoveThen(t *testing.T) {
	p := newPoller(t)
	c := newCounter(t)
	defer c.close()
	const edges = unix.EPOLLIN | unix.EPOLLET

	// Nothing runs: at once.
	called := 0
	r := add(t, p, c, edges, func(uint32) {})
	r.RemoveThen(func() { called++ })
	r.RemoveThen(func() { called++ })
	r.Remove()
	if called != 1 || p.Len() != 0 {
		t.Fatalf("called %d times, %d left", called, p.Len())
	}
	if err := r.Modify(edges); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Modify after Remove: %v", err)
	}

	// The Handler runs: behind it, whoever removes.
	for _, self := range []bool{true, false} {
		inside, goOn, after := make(chan struct{}), make(chan struct{}), make(chan bool, 1)
		var returned bool // only Run's goroutine touches it
		var r *Registration
		set := make(chan struct{})
		r = add(t, p, c, edges, func(uint32) {
			<-set
			if self {
				r.RemoveThen(func() { after <- returned })
			}
			close(inside)
			<-goOn
			c.take()
			returned = true
		})
		close(set)
		if self {
			start(t, t.Context(), p)
		}
		c.signal(t)
		<-inside
		if !self {
			r.RemoveThen(func() { after <- returned })
		}
		select {
		case <-after:
			t.Fatal("called while the Handler ran")
		default:
		}
		close(goOn)
		if !<-after {
			t.Error("called before the Handler returned")
		}
	}
}

func TestEnds(t *testing.T) {
	reason := errors.New("reason")
	t.Run("ctx", func(t *testing.T) {
		p := newPoller(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := start(t, ctx, p)
		cancel(reason)
		if err := <-ended; !errors.Is(err, reason) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("close", func(t *testing.T) {
		p := newPoller(t)
		c := newCounter(t)
		defer c.close()
		r := add(t, p, c, unix.EPOLLIN, func(uint32) { c.take() })
		ended := start(t, t.Context(), p)
		for range 3 {
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := p.Add(int(c), unix.EPOLLIN, handlerFunc(nil)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Add: %v", err)
		}
		if err := r.Modify(unix.EPOLLIN); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Modify: %v", err)
		}
		called := false
		r.RemoveThen(func() { called = true })
		if !called {
			t.Error("RemoveThen did not call")
		}
		if err := p.Run(t.Context()); err != nil {
			t.Errorf("Run after Close: %v", err)
		}
	})
	t.Run("never run", func(t *testing.T) {
		p := newPoller(t)
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := p.Run(t.Context()); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("run twice", func(t *testing.T) {
		p := newPoller(t)
		c := newCounter(t)
		defer c.close()
		c.signal(t)
		running := make(chan struct{})
		add(t, p, c, unix.EPOLLIN|unix.EPOLLET, func(uint32) { close(running) })
		start(t, t.Context(), p)
		<-running
		if err := p.Run(t.Context()); !errors.Is(err, ErrRunning) {
			t.Errorf("second Run: %v", err)
		}
	})
	t.Run("no descriptor", func(t *testing.T) {
		p := newPoller(t)
		for _, fd := range []int{-1, 1 << 20} {
			if _, err := p.Add(fd, unix.EPOLLIN, handlerFunc(nil)); !errors.Is(err, unix.EBADF) {
				t.Errorf("Add(%d): %v", fd, err)
			}
		}
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := p.Add(int(file.Fd()), unix.EPOLLIN, handlerFunc(nil)); !errors.Is(err, unix.EPERM) {
			t.Errorf("Add of a plain file: %v", err)
		}
		if p.Len() != 0 {
			t.Errorf("%d watched", p.Len())
		}
	})
}

// TestStress has goroutines that add, signal, remove and close at once, with
// numbers and places that are used again all the time. A Handler only ever sees
// its own counter.
func TestStress(t *testing.T) {
	p := newPoller(t)
	start(t, t.Context(), p)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 500 {
				c := newCounter(t)
				told, closed := make(chan struct{}, 1), make(chan struct{})
				r := add(t, p, c, unix.EPOLLIN|unix.EPOLLET, func(uint32) {
					if !c.take() {
						t.Error("told of a counter that is zero")
					}
					told <- struct{}{}
				})
				if i%3 != 0 {
					c.signal(t)
				}
				if i%3 == 1 {
					<-told
				}
				r.RemoveThen(func() {
					c.close()
					close(closed)
				})
				<-closed
			}
		})
	}
	all.Wait()
	if p.Len() != 0 {
		t.Errorf("%d left", p.Len())
	}
}

// TestEventsAllocateNothing also is the proof that the goroutine waits and does not
// poll: each event is asked for apart.
func TestEventsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := newPoller(t)
	c := newCounter(t)
	defer c.close()
	got := make(chan struct{})
	add(t, p, c, unix.EPOLLIN|unix.EPOLLET, func(uint32) {
		c.take()
		got <- struct{}{}
	})
	start(t, t.Context(), p)
	if n := testing.AllocsPerRun(1000, func() {
		c.signal(t)
		<-got
	}); n >= 1 {
		t.Errorf("%v allocations per event", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	p := newPoller(b)
	c := newCounter(b)
	defer c.close()
	got := make(chan struct{})
	add(b, p, c, unix.EPOLLIN|unix.EPOLLET, func(uint32) {
		c.take()
		got <- struct{}{}
	})
	start(b, b.Context(), p)
	b.ReportAllocs()
	for b.Loop() {
		c.signal(b)
		<-got
	}
}

// TestRemoveClosing: the close takes the descriptor out, and one that gets its number
// is another's.
func TestRemoveClosing(t *testing.T) {
	p := newPoller(t)
	start(t, t.Context(), p)
	first := newCounter(t)
	r := add(t, p, first, unix.EPOLLIN|unix.EPOLLET, func(uint32) { t.Error("the first was told") })
	r.RemoveClosing()
	first.close()
	if n := p.Len(); n != 0 {
		t.Errorf("%d are watched", n)
	}
	second := newCounter(t)
	defer second.close()
	told := make(chan struct{}, 1)
	add(t, p, second, unix.EPOLLIN|unix.EPOLLET, func(uint32) { told <- struct{}{} })
	second.signal(t)
	<-told
	r.Remove() // does nothing: the number is another's
	second.take()
	second.signal(t)
	<-told
}

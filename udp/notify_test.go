package udp

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
)

// tally counts how often it is notified, and looks.
type tally struct {
	n    int
	look func()
}

func (c *tally) Notify(flow.Event) {
	c.n++
	if c.look != nil {
		c.look()
	}
}

// TestNotifier: it is called for the first datagram that waits, for an error and
// for the end, at once or at the end of a batch, and never under a lock.
func TestNotifier(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	s := r.opened(f.client, f.server)
	c := &tally{look: func() { s.Info() }}
	want := func(what string, n int) {
		t.Helper()
		if c.n != n {
			t.Errorf("%s: %d calls, want %d", what, c.n, n)
		}
		c.n = 0
	}
	s.SetNotifier(c)
	want("a datagram is there", 1)
	r.receive(f.client, f.server, "second")
	want("another", 0)
	s.ReadBatch(rooms(5, 10))
	s.SetNotifier(c)
	want("nothing is there", 0)
	r.receive(f.client, f.server, "x")
	want("first", 1)
	s.ReadBatch(rooms(5, 10))
	r.BeginBatch()
	for range 3 {
		r.receive(f.client, f.server, "x")
		want("inside a batch", 0)
	}
	r.EndBatch()
	want("behind the batch", 1)
	if n, err := s.ReadBatch(rooms(5, 10)); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	r.BeginBatch()
	r.EndBatch()
	want("an empty batch", 0)
	s.report(syscall.ECONNREFUSED)
	want("an error", 1)
	s.SetNotifier(c)
	want("an error is there", 1)
	s.SetNotifier(nil)
	r.receive(f.client, f.server, "x")
	want("none", 0)
	s.SetNotifier(c)
	want("again", 1)
	s.Kill(nil)
	want("the end", 1)
	s.Close()
	want("the second end", 0)
	s.SetNotifier(c)
	want("it has ended", 1)
}

// TestLend: what is lent comes in order, counts until it is returned, and what is
// given back is what comes next.
func TestLend(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	s := r.opened(f.client, f.server)
	for i := range 9 {
		r.receive(f.client, f.far, fmt.Sprint(i))
	}
	var b Batch
	text := func(n int) (all string) {
		for i := range n {
			m := &b.Messages[i]
			if m.Source != f.client || m.N != len(m.Buffer) || m.Size != m.N {
				t.Errorf("%+v", m)
			}
			all += string(m.Buffer) + " "
		}
		return all
	}
	want := func(count int, all string) {
		t.Helper()
		n, err := s.Lend(&b)
		if n != count || err != nil || text(n) != all {
			t.Errorf("lent %d, %v, %q, want %q", n, err, text(n), all)
		}
	}
	held := r.Stats().QueuedBytes
	want(10, "first 0 1 2 3 4 5 6 7 8 ")
	if got := r.Stats().QueuedBytes; got != held {
		t.Errorf("%d bytes count, want %d", got, held)
	}
	r.receive(f.client, f.far, "9")
	b.Return(8)
	want(3, "7 8 9 ")
	b.Return(0)
	want(3, "7 8 9 ")
	b.Return(3)
	want(0, "")
	b.Return(0)
	if got := r.Stats().QueuedBytes; got != 0 {
		t.Errorf("%d bytes count at the end", got)
	}
	for i := range BatchSize + 1 {
		r.receive(f.client, f.far, fmt.Sprint(i))
	}
	if n, _ := s.Lend(&b); n != BatchSize {
		t.Errorf("lent %d", n)
	}
	s.report(syscall.EHOSTUNREACH)
	var other Batch
	if n, err := s.Lend(&other); n != 0 || !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("lent %d, %v", n, err)
	}
	s.Close()
	r.wantDrops(drop.UDPClosed, 1)
	b.Return(4) // the others have nowhere to go
	r.wantDrops(drop.UDPClosed, 1+BatchSize-4)
	if n, err := s.Lend(&b); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("lent %d, %v", n, err)
	}
}

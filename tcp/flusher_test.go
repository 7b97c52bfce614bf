package tcp

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"
)

// TestDue is the flusher's judgement of a write buffer.
func TestDue(t *testing.T) {
	const us = int64(time.Microsecond)
	now := 10_000 * us
	for _, tc := range []struct {
		name       string
		waiting    int
		token      bool
		last, age  int64 // ago
		due, whole bool
	}{
		{"nothing waits", 0, false, 0, 0, true, false},
		{"somebody is sending", 100, true, 500 * us, 500 * us, false, false},
		{"the writer paused", 100, false, 20 * us, 20 * us, true, false},
		{"the writer is at work", 100, false, us, 30 * us, false, false},
		{"much waits, but not for long", 10_000, false, us, 99 * us, false, false},
		{"whole segments wait", 10_000, false, us, 100 * us, true, true},
		{"less than a segment waits", 1000, false, us, 100 * us, false, false},
		{"it waited long enough", 1000, false, us, 200 * us, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := writeBuffer{
				size: 16 << 10, segment: 1400, tail: tc.waiting,
				token: tc.token, last: now - tc.last, since: now - tc.age,
			}
			var mu sync.Mutex
			if due, whole := w.due(&mu, now); due != tc.due || whole != tc.whole {
				t.Errorf("due %v, whole %v", due, whole)
			}
		})
	}
}

// TestFlusherList pushes streams from many goroutines: each post is seen, and a stream
// is in the list at most once.
func TestFlusherList(t *testing.T) {
	s, _ := pendingStream(t)
	env := s.env
	streams := []*Stream{s}
	for range 99 {
		streams = append(streams, newPending(env, s.cfg, clientEnd, serverEnd, newSlowShake()))
	}
	f := &env.Flushers.all[0]
	const rounds = 1000
	for _, s := range streams {
		for range rounds { // nobody takes them
			s.post(postHangUp)
		}
	}
	if got := len(f.take(nil)); got != len(streams) {
		t.Errorf("%d streams in the list, want %d", got, len(streams))
	}
	if st := env.Flushers.Stats(); st.Notes != uint64(len(streams)) {
		t.Errorf("%+v", st)
	}
	for _, s := range streams {
		s.note.bits.Store(0)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var run, posts sync.WaitGroup
	run.Go(func() { env.Flushers.Run(ctx) })
	for range 4 {
		posts.Go(func() {
			for i := range rounds {
				streams[i%len(streams)].post(postDiscard | postFlush)
			}
		})
	}
	posts.Wait()
	eventually(t, "every post was served", func() bool {
		for _, s := range streams {
			if s.note.bits.Load() != 0 {
				return false
			}
		}
		return true
	})
	cancel()
	run.Wait()
	for _, s := range streams {
		s.Kill(nil)
	}
}

// TestFlusherSendsTheRest leaves bytes in the buffer and does nothing more: the flusher
// brings them.
func TestFlusherSendsTheRest(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	for n := 1; n <= 3000; n = n*3 + 1 {
		for range n {
			if _, err := b.Write([]byte("0123456789")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(a, make([]byte, 10*n)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the memory is returned", func() bool { return r.b.env.Budget.Snapshot().WriteBuffer == 0 })
	b.Close()
	a.Close()
}

// TestReadFlushes answers a reader that has just written, whatever the flusher does:
// there is none.
func TestReadFlushes(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	// As if a flusher had the stream already and were busy elsewhere.
	b.note.bits.Or(postFlush)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 6)
		io.ReadFull(a, buf)
		a.Write(buf)
	})
	for _, part := range []string{"he", "ad", "er"} {
		b.Write([]byte(part))
	}
	buf := make([]byte, 6)
	if _, err := io.ReadFull(b, buf); string(buf) != "header" || err != nil {
		t.Errorf("%q, %v", buf, err)
	}
	wg.Wait()
	// The same with Flush, and with CloseWrite.
	for _, end := range []func() error{b.Flush, b.CloseWrite} {
		for _, part := range []string{"he", "ad", "er"} {
			b.Write([]byte(part))
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a, buf); string(buf) != "header" || err != nil {
			t.Errorf("%q, %v", buf, err)
		}
	}
	a.Close()
	b.Close()
}

// TestBudgetOfKilledWriter kills streams whose writers are in the middle of it.
func TestBudgetOfKilledWriter(t *testing.T) {
	r := newRig(t, Config{}) // its cleanup looks at the budget
	for range 30 {
		a, b := r.pair()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					if _, err := b.Write(make([]byte, 100)); err != nil {
						return
					}
				}
			})
		}
		wg.Go(func() { io.CopyN(io.Discard, a, 10_000); b.Kill(nil) })
		wg.Wait()
		a.Close()
	}
}

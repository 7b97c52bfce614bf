package tcp

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// pattern is n bytes in which no stretch looks like another.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// TestCloseDelivers closes right behind accepted bytes, with input unread and more
// of it coming, and with Writes of all sizes: everything arrives.
func TestCloseDelivers(t *testing.T) {
	r := newRig(t, Config{})
	for _, size := range []int{1, 63, 1000, 15_000, 16 << 10, 500_000} {
		for _, step := range []int{7, 1000, 16 << 10, 1 << 20} {
			if size/step > 5000 {
				continue
			}
			a, b := r.pair()
			if _, err := a.Write(make([]byte, 40_000)); err != nil { // b never reads it
				t.Fatal(err)
			}
			want := pattern(size)
			var wg sync.WaitGroup
			var got []byte
			var err error
			wg.Go(func() { got, err = io.ReadAll(a) })
			for rest := want; len(rest) > 0; {
				n := min(step, len(rest))
				if _, err := b.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if sha256.Sum256(got) != sha256.Sum256(want) || err != nil {
				t.Errorf("%d bytes by %d: %d came, %v", size, step, len(got), err)
			}
			a.Close()
			if got := cause(t, b); got != flow.Closed {
				t.Errorf("cause %v", got)
			}
		}
	}
	eventually(t, "the closers have let go", func() bool {
		return r.a.env.Closer.Stats().Closing == 0 && r.b.env.Closer.Stats().Closing == 0
	})
	if st := r.b.env.Closer.Stats(); st.Undelivered != 0 || st.LostBytes != 0 {
		t.Errorf("closer: %+v", st)
	}
}

// TestShutWindowPastClose closes while the peer's window is shut and the write buffer
// holds bytes: they come when it opens.
func TestShutWindowPastClose(t *testing.T) {
	for _, unread := range []bool{false, true} {
		r := newRig(t, Config{})
		a, b := r.pair()
		if unread {
			a.Write([]byte("unread"))
		}
		accepted := fill(t, b)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if b.Info().Unsent != 0 {
			t.Errorf("%d bytes still wait in the write buffer", b.Info().Unsent)
		}
		n, err := io.Copy(io.Discard, a)
		if n != accepted || err != nil {
			t.Errorf("%d of %d accepted bytes came, %v", n, accepted, err)
		}
		a.Close()
		if got := cause(t, b); got != flow.Closed {
			t.Errorf("cause %v", got)
		}
	}
}

// fill writes to s, whose peer does not read, until nothing is accepted any more.
// It returns how much was.
func fill(t *testing.T, s *Stream) int64 {
	t.Helper()
	for still := 0; still < 3; {
		s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := s.Write(make([]byte, 1000))
		if n > 0 {
			still = 0
		}
		if err != nil {
			still++
			var te interface{ Timeout() bool }
			if !errors.As(err, &te) || !te.Timeout() {
				t.Fatal(err)
			}
		}
	}
	s.SetWriteDeadline(time.Time{})
	if i := s.Info(); i.Unsent != i.Buffered {
		t.Fatalf("the write buffer holds %d of %d", i.Unsent, i.Buffered)
	}
	return int64(s.Info().BytesOut)
}

// TestCloseTimeout keeps the window shut beyond CloseTimeout: RST, a cause, a count.
func TestCloseTimeout(t *testing.T) {
	r := newRig(t, Config{CloseTimeout: 50 * time.Millisecond})
	a, b := r.pair()
	fill(t, b)
	b.Close()
	if got := cause(t, b); got != flow.Undelivered {
		t.Errorf("cause %v", got)
	}
	eventually(t, "it is counted", func() bool { return r.b.env.Closer.Stats().Closing == 0 })
	st := r.b.env.Closer.Stats()
	if st.Undelivered != 1 || st.LostBytes < 16<<10 || b.Info().BytesLost != st.LostBytes {
		t.Errorf("closer: %+v, stream: %d lost", st, b.Info().BytesLost)
	}
	if _, err := io.Copy(io.Discard, a); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer reads %v", err)
	}
	a.Close()
}

// TestCloseOfSilentPeer never gets an answer to its FIN.
func TestCloseOfSilentPeer(t *testing.T) {
	r := newRig(t, Config{CloseTimeout: 50 * time.Millisecond})
	a, b := r.pair()
	r.a.conn.setFilter(func(*packet.Packet) bool { return false })
	b.Write([]byte("into the void"))
	b.SetLinger(1) // seconds, instead of CloseTimeout
	b.Close()
	if got := cause(t, b); got != flow.Undelivered {
		t.Errorf("cause %v", got)
	}
	if d := b.Info().Ended.Sub(b.Info().Opened); d < time.Second {
		t.Errorf("it ended after %v", d)
	}
	a.Reset()
}

// TestCloseIdempotent calls everything that ends at once, from everywhere.
func TestCloseIdempotent(t *testing.T) {
	r := newRig(t, Config{})
	for range 50 {
		a, b := r.pair()
		var wg sync.WaitGroup
		for _, s := range []*Stream{a, b} {
			for _, f := range []func(){
				func() { s.Close() }, func() { s.Close() }, func() { s.CloseWrite() }, func() { s.CloseRead() },
				func() { s.Write([]byte("x")) }, func() { s.Read(make([]byte, 1)) }, func() { s.Flush() },
				func() { s.SetDeadline(time.Now()) }, func() { s.Info() }, func() { s.Context() },
			} {
				wg.Go(f)
			}
		}
		wg.Wait()
		cause(t, a)
		cause(t, b)
		if a.Close() != nil || b.Close() != nil {
			t.Error("a second Close fails")
		}
	}
}

// TestWriteAfterCloseWrite is EPIPE, and what was accepted before has come.
func TestWriteAfterCloseWrite(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	want := pattern(10_000)
	for rest := want; len(rest) > 0; rest = rest[10:] {
		if _, err := b.Write(rest[:10]); err != nil {
			t.Fatal(err)
		}
	}
	b.CloseWrite()
	if n, err := b.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write: %d, %v", n, err)
	}
	if err := b.CloseWrite(); err != nil {
		t.Errorf("again: %v", err)
	}
	if got, err := io.ReadAll(a); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	a.Close()
	b.Close()
}

// TestCloseWithLargestSendBuffer closes a stream whose send buffer is full and as large
// as can be, and one whose send buffer was made smaller than what is in it.
func TestCloseWithLargestSendBuffer(t *testing.T) {
	r := newRig(t, Config{})
	for _, size := range []int{0, maxBuffer} {
		a, b := r.pair()
		if err := b.SetWriteBuffer(maxBuffer); err != nil {
			t.Fatal(err)
		}
		accepted := fill(t, b)
		if err := b.SetWriteBuffer(size); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if n, err := io.Copy(io.Discard, a); n != accepted || err != nil {
			t.Errorf("%d of %d accepted bytes came, %v", n, accepted, err)
		}
		a.Close()
	}
}

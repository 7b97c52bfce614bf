package tcp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// TestResetNeverReadsAsEOF resets a connection under a reader and a writer, in
// every order in which they can find out.
func TestResetNeverReadsAsEOF(t *testing.T) {
	r := newRig(t, Config{})
	read := func(s *Stream) error { _, err := io.Copy(io.Discard, struct{ io.Reader }{s}); return err }
	writeTo := func(s *Stream) error { _, err := s.WriteTo(io.Discard); return err }
	write := func(s *Stream) error {
		for {
			if _, err := s.Write(make([]byte, 100)); err != nil {
				return err
			}
		}
	}
	bigWrite := func(s *Stream) error {
		for {
			if _, err := s.Write(make([]byte, 100_000)); err != nil {
				return err
			}
		}
	}
	readFrom := func(s *Stream) error { _, err := s.ReadFrom(endless{}); return err }
	flush := func(s *Stream) error {
		for {
			if err := s.Flush(); err != nil {
				return err
			}
		}
	}
	calls := []func(*Stream) error{read, writeTo, write, bigWrite, readFrom, flush}
	names := []string{"read", "writeto", "write", "big write", "readfrom", "flush"}
	for i, first := range calls {
		for j, second := range calls {
			a, b := r.pair()
			if _, err := b.Write([]byte("before the reset")); err != nil {
				t.Fatal(err)
			}
			b.Flush()
			go b.Reset() // the calls below end with it
			if err := first(a); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s first: %v", names[i], err)
			}
			if err := second(a); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s after %s: %v", names[j], names[i], err)
			}
			a.Close()
		}
		a, b := r.pair()
		var wg sync.WaitGroup
		for j, call := range calls {
			wg.Go(func() {
				if err := call(a); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s beside the others: %v", names[j], err)
				}
			})
		}
		go io.CopyN(io.Discard, b, 1000) // ends with the reset
		b.Reset()
		wg.Wait()
		if got := cause(t, a); got != flow.ResetByClient {
			t.Errorf("cause %v", got)
		}
		a.Close()
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestDataBeforeReset reads what came before a reset, when that is known already.
func TestDataBeforeReset(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	want := bytes.Repeat([]byte("data"), 1000)
	if _, err := b.Write(want); err != nil {
		t.Fatal(err)
	}
	b.Flush()
	eventually(t, "everything has arrived", func() bool { return a.Info().Unread == len(want) })
	b.Reset()
	if got := cause(t, a); got != flow.ResetByClient {
		t.Errorf("cause %v", got)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write: %v", err)
	}
	got, err := io.ReadAll(a)
	if !bytes.Equal(got, want) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
	a.Close()
}

// TestResetOnWire looks at what Reset, SetLinger(0) and Kill send, and at the causes
// of both ends.
func TestResetOnWire(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*Stream)
		want error
	}{
		{"Reset", func(s *Stream) { s.Reset() }, flow.Reset},
		{"SetLinger(0) and Close", func(s *Stream) { s.SetLinger(0); s.Close() }, flow.Reset},
		{"Kill", func(s *Stream) { s.Kill(nil) }, flow.Killed},
		{"ResetCause", func(s *Stream) { s.ResetCause(flow.Idle) }, flow.Idle},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, Config{})
			a, b := r.pair()
			resets := make(chan struct{}, 10)
			r.b.conn.setFilter(func(p *packet.Packet) bool {
				if p.Flags&packet.RST != 0 {
					resets <- struct{}{}
				}
				return true
			})
			b.Write([]byte("never read by anyone"))
			a.Write([]byte("nor this"))
			tc.end(b)
			tc.end(b) // again
			<-resets
			if got := cause(t, b); got != tc.want {
				t.Errorf("own cause %v, want %v", got, tc.want)
			}
			if got := cause(t, a); got != flow.ResetByClient {
				t.Errorf("the peer's cause %v", got)
			}
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			a.Close()
		})
	}
}

// TestEndUnblocks ends a stream under blocked calls.
func TestEndUnblocks(t *testing.T) {
	r := newRig(t, Config{})
	for name, end := range map[string]func(*Stream){
		"Close": func(s *Stream) { s.Close() },
		"Reset": func(s *Stream) { s.Reset() },
		"Kill":  func(s *Stream) { s.Kill(flow.Evicted) },
	} {
		a, b := r.pair()
		var wg sync.WaitGroup
		var accepted int64
		for range 3 {
			wg.Go(func() {
				if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: read: %v", name, err)
				}
			})
		}
		started := make(chan struct{})
		wg.Go(func() {
			close(started)
			n, err := b.Write(make([]byte, 64<<20)) // nobody reads: it blocks
			accepted = int64(n)
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: write: %v", name, err)
			}
		})
		<-started
		eventually(t, "the send buffer is full", func() bool { return b.Info().Unacked >= 30<<10 })
		end(b)
		wg.Wait()
		if accepted == 0 {
			t.Errorf("%s: a blocked Write says that nothing was accepted", name)
		}
		if name == "Close" { // what was accepted comes
			n, err := io.Copy(io.Discard, a)
			if n != accepted || err != nil {
				t.Errorf("%d of %d accepted bytes came, %v", n, accepted, err)
			}
		}
		a.Close()
	}
}

// TestCloseReadKeepsPeerGoing discards what a peer sends after CloseRead.
func TestCloseReadKeepsPeerGoing(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	if err := a.CloseRead(); err != nil {
		t.Fatal(err)
	}
	const size = 8 << 20
	if n, err := b.Write(make([]byte, size)); n != size || err != nil {
		t.Fatalf("the peer stalls: %d, %v", n, err)
	}
	if _, err := a.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	b.CloseWrite()
	eventually(t, "everything is discarded and counted", func() bool { return a.Info().BytesIn == size })
	a.Close()
	if got, err := io.ReadAll(b); string(got) != "still here" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := cause(t, a); got != flow.Closed {
		t.Errorf("cause %v", got)
	}
	b.Close()
}

// TestLostBufferIsReported resets a stream whose write buffer holds accepted bytes: one
// call says so, whichever comes next.
func TestLostBufferIsReported(t *testing.T) {
	r := newRig(t, Config{})
	for name, call := range map[string]func(*Stream) error{
		"Write":      func(s *Stream) error { _, err := s.Write([]byte("x")); return err },
		"Flush":      (*Stream).Flush,
		"CloseWrite": (*Stream).CloseWrite,
		"Close":      (*Stream).Close,
		"Read":       func(s *Stream) error { _, err := s.Read(make([]byte, 1)); return err },
	} {
		a, b := r.pair()
		fill(t, b)
		a.Reset()
		cause(t, b)
		if err := call(b); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
		if err := b.Close(); name != "Read" && err != nil {
			t.Errorf("Close after %s said it: %v", name, err)
		}
	}
}

package tcp

import (
	"bytes"
	"io"
	"sync"
	"testing"
)

// TestReaderIsGranted: a copy from a reader that nobody knows holds memory as long as
// it lasts, and that is granted too.
func TestReaderIsGranted(t *testing.T) {
	for _, tight := range []bool{false, true} {
		r, held := newRig(t, Config{WriteBuffer: -1}), int64(copySize)
		if tight {
			r, held = newRigTight(t, Config{WriteBuffer: -1}), 0
		}
		a, b := r.pair()
		pr, pw := io.Pipe()
		done := make(chan error, 1)
		go func() { // awaited below
			_, err := b.ReadFrom(pr)
			b.CloseWrite()
			done <- err
		}()
		want := pattern(100_000)
		sent := make(chan error, 1)
		go func() { // awaited below
			_, err := pw.Write(want)
			sent <- err
		}()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(a, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("tight %v: other bytes came, %v", tight, err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if got := r.b.env.Budget.Snapshot().WriteBuffer; got != held {
			t.Errorf("tight %v: %d bytes are granted, want %d", tight, got, held)
		}
		pw.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := r.b.env.Budget.Snapshot().WriteBuffer; got != 0 {
			t.Errorf("tight %v: %d bytes are still granted", tight, got)
		}
		a.Close()
		b.Close()
	}
}

// TestCopyIsGranted: a copy whose taker has stopped taking holds memory that the budget
// granted; where that has no more to grow on the copy makes do with little.
func TestCopyIsGranted(t *testing.T) {
	want := pattern(4 << 20)
	for _, tc := range []struct {
		name  string
		tight bool
		held  int64
	}{
		{"room", false, chunkSize},
		{"no room", true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{WriteBuffer: -1, MaxSendBuffer: 64 << 10, MaxReceiveBuffer: 64 << 10}
			r := newRig(t, cfg)
			if tc.tight {
				r = newRigTight(t, cfg)
			}
			a, b := r.pair()
			x, y := kernelPair(t, "tcp")
			pr, pw := io.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := y.Write(want)
				closeWrite(y)
				if err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() { // socket → b
				if n, err := b.ReadFrom(x); n != int64(len(want)) || err != nil {
					t.Errorf("ReadFrom: %d, %v", n, err)
				}
				b.CloseWrite()
			})
			wg.Go(func() { // a → pipe
				if n, err := a.WriteTo(pw); n != int64(len(want)) || err != nil {
					t.Errorf("WriteTo: %d, %v", n, err)
				}
				pw.Close()
			})
			eventually(t, "both wait, with what they were granted", func() bool {
				return a.Info().Unread > 0 && b.Info().Unacked > 0 &&
					r.a.env.Budget.Snapshot().WriteBuffer == tc.held && r.b.env.Budget.Snapshot().WriteBuffer == tc.held
			})
			if got, err := io.ReadAll(pr); !bytes.Equal(got, want) || err != nil {
				t.Errorf("%d of %d bytes came, %v", len(got), len(want), err)
			}
			wg.Wait()
			for _, h := range []*side{r.a, r.b} {
				if got := h.env.Budget.Snapshot().WriteBuffer; got != 0 {
					t.Errorf("%d bytes are still granted", got)
				}
			}
			a.Close()
			b.Close()
		})
	}
}

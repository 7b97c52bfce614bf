package tcp

import (
	"bytes"
	"io"
	"sync"
	"testing"
)

// TestCopyIsGranted: a copy whose taker has stopped taking holds memory that the budget
// granted; where that has no more to grow on the copy makes do with little.
func TestCopyIsGranted(t *testing.T) {
	want := pattern(4 << 20)
	for _, tc := range []struct {
		name        string
		limit, held int64
	}{
		{"room", 0, chunkSize},
		{"no room", 400 << 10, 0}, // of which the buffers of a stream are 128 KiB
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRigLimit(t, Config{WriteBuffer: -1, MaxSendBuffer: 64 << 10, MaxReceiveBuffer: 64 << 10}, tc.limit)
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

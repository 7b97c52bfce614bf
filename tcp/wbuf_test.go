package tcp

import (
	"encoding/binary"
	"io"
	"sync"
	"testing"
)

// TestMillionSmallWrites sends a million small Writes and closes: everything comes,
// in packets that are nearly all full.
func TestMillionSmallWrites(t *testing.T) {
	writes := 1_000_000
	if testing.Short() || raceEnabled {
		writes /= 10
	}
	const size = 64
	r := newRig(t, Config{})
	a, b := r.pair()
	var wg sync.WaitGroup
	var total int64
	var bad int
	wg.Go(func() {
		buf := make([]byte, 64<<10)
		var rest []byte
		want := uint64(0)
		for {
			n, err := a.Read(buf)
			rest = append(rest, buf[:n]...)
			total += int64(n)
			for len(rest) >= size {
				if binary.BigEndian.Uint64(rest) != want {
					bad++
				}
				want++
				rest = rest[size:]
			}
			rest = append([]byte(nil), rest...)
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	msg := make([]byte, size)
	for i := range writes {
		binary.BigEndian.PutUint64(msg, uint64(i))
		if n, err := b.Write(msg); n != size || err != nil {
			t.Fatalf("write %d: %d, %v", i, n, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if want := int64(writes) * size; total != want || bad != 0 {
		t.Errorf("%d of %d bytes came, %d records out of order", total, want, bad)
	}
	const mss = 1400 // 1500 less IPv6, TCP and all options
	full := (int64(writes)*size + mss - 1) / mss
	packets := r.b.conn.data.Load()
	st := r.b.env.Flushers.Stats()
	t.Logf("%d packets for %d full ones (%.2f); %+v", packets, full, float64(packets)/float64(full), st)
	if packets*10 > full*12 {
		t.Errorf("%d data packets, want at most 1.2 × %d", packets, full)
	}
	if int(st.Notes)*20 > writes {
		t.Errorf("%d notes for %d writes", st.Notes, writes)
	}
	a.Close()
}

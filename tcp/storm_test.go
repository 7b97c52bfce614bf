package tcp

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"l3extract/internal/packet"
)

// TestStorm runs many streams at once over a link that loses packets, with Writes,
// Flushes, Reads, Peeks and deadlines as the dice fall: what was accepted comes, in
// order, and nothing stalls.
func TestStorm(t *testing.T) {
	streams, size := 40, 300_000
	if testing.Short() || raceEnabled {
		streams, size = 10, 100_000
	}
	r := newRig(t, Config{})
	for i, h := range []*side{r.a, r.b} {
		dice := rand.New(rand.NewPCG(7, uint64(i)))
		h.conn.setFilter(func(p *packet.Packet) bool { // called by one goroutine
			return p.Flags&(packet.SYN|packet.RST) != 0 || dice.IntN(200) != 0
		})
	}
	var wg sync.WaitGroup
	var all []*Stream
	for i := range streams {
		a, b := r.pair()
		all = append(all, a, b)
		for j, dir := range [][2]*Stream{{a, b}, {b, a}} {
			seed := uint64(2*i + j)
			want := pattern(size + i)
			wg.Go(func() { stormWrite(t, dir[0], want, rand.New(rand.NewPCG(1, seed))) })
			wg.Go(func() { stormRead(t, dir[1], want, rand.New(rand.NewPCG(2, seed))) })
		}
	}
	wg.Wait()
	for _, s := range all {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func stormWrite(t *testing.T, s *Stream, want []byte, dice *rand.Rand) {
	for len(want) > 0 {
		n := min(1+dice.IntN(1<<dice.IntN(16)), len(want))
		if dice.IntN(4) == 0 {
			s.SetWriteDeadline(time.Now().Add(time.Duration(dice.IntN(3)) * time.Millisecond))
		} else {
			s.SetWriteDeadline(time.Time{})
		}
		n, err := s.Write(want[:n])
		want = want[n:]
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
			return
		}
		switch dice.IntN(20) {
		case 0:
			s.Flush()
		case 1:
			time.Sleep(time.Duration(dice.IntN(300)) * time.Microsecond)
		}
	}
	if err := s.CloseWrite(); err != nil {
		t.Error(err)
	}
}

func stormRead(t *testing.T, s *Stream, want []byte, dice *rand.Rand) {
	done := 0
	buf := make([]byte, 64<<10)
	for {
		if dice.IntN(4) == 0 {
			s.SetReadDeadline(time.Now().Add(time.Duration(dice.IntN(3)) * time.Millisecond))
		} else {
			s.SetReadDeadline(time.Time{})
		}
		b := buf[:1+dice.IntN(1<<dice.IntN(16))]
		if dice.IntN(10) == 0 {
			if n, _ := s.Peek(b[:min(len(b), 100)]); string(b[:n]) != string(want[done:done+n]) {
				t.Errorf("peeked other bytes at %d", done)
				return
			}
		}
		n, err := s.Read(b)
		if n > len(want)-done || string(b[:n]) != string(want[done:done+n]) {
			t.Errorf("other bytes at %d", done)
			return
		}
		done += n
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
			return
		}
	}
	if done != len(want) {
		t.Errorf("%d of %d bytes, then EOF", done, len(want))
	}
}

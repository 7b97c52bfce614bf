package stack

import (
	"io"
	"sync/atomic"
	"testing"

	"l3extract/l3conn"
	"l3extract/tcp"
)

// loser drops the next packets of more than a header that are written to it.
type loser struct {
	*l3conn.PipeEnd
	next atomic.Int32
}

func (l *loser) Write(p []byte) (int, error) {
	if len(p) > 200 && l.next.Add(-1) >= 0 {
		return len(p), nil
	}
	return l.PipeEnd.Write(p)
}

// TestLostTail: when all that is in flight is lost, RACK's probe notices, and
// without it only a time-out does.
func TestLostTail(t *testing.T) {
	for _, c := range []struct {
		recovery tcp.Recovery
		timeouts uint64
	}{{tcp.SACK, 1}, {tcp.RACK, 0}} {
		x, y := l3conn.Pipe(0, 0)
		lossy := &loser{PipeEnd: y}
		cfg := Config{TCP: tcp.Config{Recovery: c.recovery}}
		client, server := pairOn(t, x, lossy, cfg, cfg)
		// A machine that stalls for as long as a time-out has one, whatever the
		// recovery: one connection of some is to show what it does.
		var i tcp.Info
		for range 10 {
			if i = lostTail(t, client, server, lossy); i.Timeouts == c.timeouts {
				break
			}
		}
		if i.Timeouts != c.timeouts || i.Retransmits == 0 {
			t.Errorf("%v: %d time-outs, want %d; %d segments sent again", c.recovery, i.Timeouts, c.timeouts, i.Retransmits)
		}
	}
}

// lostTail loses the last bytes of a connection and returns its sender's account.
func lostTail(t *testing.T, client, server *Stack, lossy *loser) tcp.Info {
	t.Helper()
	a, b, err := connect(client, server)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	sent := make([]byte, 4*1000)
	for _, lost := range []int32{0, 0, 0, 3} { // at first the round trip is learnt
		lossy.next.Store(lost)
		if _, err := b.Write(sent); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a, sent); err != nil {
			t.Fatal(err)
		}
	}
	return b.(*tcp.Stream).Info()
}

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
		a, b, err := connect(client, server)
		if err != nil {
			t.Fatal(err)
		}
		sent := make([]byte, 4*1000)
		for range 3 { // so that the round trip is known
			if _, err := b.Write(sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(a, sent); err != nil {
				t.Fatal(err)
			}
		}
		// A machine that stalls for as long as a time-out has one, whatever the
		// recovery: one try of some is to show what it does.
		var i, before tcp.Info
		for range 5 {
			before = b.(*tcp.Stream).Info()
			lossy.next.Store(3)
			if _, err := b.Write(sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(a, sent); err != nil {
				t.Fatal(err)
			}
			if i = b.(*tcp.Stream).Info(); i.Timeouts-before.Timeouts == c.timeouts {
				break
			}
		}
		if n := i.Timeouts - before.Timeouts; n != c.timeouts || i.Retransmits == before.Retransmits {
			t.Errorf("%v: %d time-outs, want %d; %d segments sent again", c.recovery, n, c.timeouts, i.Retransmits-before.Retransmits)
		}
	}
}

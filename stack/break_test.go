package stack

import (
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/tcp"
)

// broken loses all that is written to it while it is cut.
type broken struct {
	*l3conn.PipeEnd
	cut atomic.Bool
}

func (b *broken) Write(p []byte) (int, error) {
	if b.cut.Load() {
		return len(p), nil
	}
	return b.PipeEnd.Write(p)
}

// TestBreak: bulk goes on after a time in which nothing passed. What was in flight then
// is lost, some thousand segments: with two for each time-out it would take minutes.
func TestBreak(t *testing.T) {
	x, y := l3conn.Pipe(0, 0)
	line := &broken{PipeEnd: y}
	client, server := pairOn(t, x, line, Config{}, Config{})
	a, b, err := connect(client, server)
	if err != nil {
		t.Fatal(err)
	}
	sender := b.(*tcp.Stream)
	sent := make(chan struct{})
	go func() { // ends with the connection, awaited below
		defer close(sent)
		for buf := make([]byte, 64<<10); ; {
			if _, err := b.Write(buf); err != nil {
				return
			}
		}
	}()
	const some = 16 << 20
	_ = a.SetReadDeadline(time.Now().Add(time.Minute)) // RACK takes ten
	if _, err := io.CopyN(io.Discard, a, some); err != nil {
		t.Fatal(err)
	}
	line.cut.Store(true)
	for end := time.Now().Add(time.Minute); sender.Info().Timeouts < 2 && time.Now().Before(end); {
		runtime.Gosched()
	}
	line.cut.Store(false)
	began := time.Now()
	if _, err := io.CopyN(io.Discard, a, some); err != nil {
		t.Error(err)
	}
	i := sender.Info()
	t.Logf("%d MiB %v after the break; %d time-outs, %d segments sent again", some>>20, time.Since(began), i.Timeouts, i.Retransmits)
	_ = a.Close()
	_ = sender.Reset()
	<-sent
}

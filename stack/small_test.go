package stack

import (
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"l3extract/l3conn"
)

// smallChild marks the process that TestSmallConfig measures.
const smallChild = "L3EXTRACT_SMALL"

// TestSmallConfig runs two Stacks of the small kind in a process of their own: one is
// the device, under 60 idle flows and 20 that echo bulk one after the other, the other plays
// everybody else. Together they stay within 40 MiB.
func TestSmallConfig(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	if os.Getenv(smallChild) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSmallConfig$", "-test.v")
		cmd.Env = append(os.Environ(), smallChild+"=1", "GOGC=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "MiB") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	debug.SetMemoryLimit(32 << 20)
	debug.SetGCPercent(50)
	x, y := l3conn.BatchPipe(64, 0, 16)
	c, s := pairOn(t, x, y, *SmallConfig(), *SmallConfig())
	streams := s.TCP().Streams()
	var servers, clients sync.WaitGroup
	servers.Go(func() { // ends with s
		for st := range streams {
			servers.Go(func() {
				_, _ = io.Copy(st, st)
				_ = st.Close()
			})
		}
	})
	stop, most := make(chan struct{}), uint64(0)
	servers.Go(func() { // ends with stop
		for {
			most = max(most, held())
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond): // a sample
			}
		}
	})
	var idle []io.Closer
	for range 60 {
		conn, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80")
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	for i := range 20 {
		clients.Go(func() {
			if err := echo(c, 1<<20, byte(i)); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	for _, conn := range idle {
		_ = conn.Close()
	}
	close(stop)
	_ = c.Close()
	_ = s.Close()
	servers.Wait()
	t.Logf("%.1f MiB at most, of which the Stacks' buffers may be %d", float64(most)/(1<<20), 2*SmallConfig().MemoryLimit>>20)
	if most > 40<<20 {
		t.Error("more than 40 MiB")
	}
}

// held returns what the process has taken from the system and not given back, in bytes.
func held() uint64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return m[0].Value.Uint64() - m[1].Value.Uint64()
}

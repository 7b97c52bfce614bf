package stack

import (
	"flag"
	"net/netip"
	"testing"

	"l3extract/l3conn"
	"l3extract/tcp"
)

// manyIdle is how many connections TestManyIdle holds; the figure in bench/README.md
// is that of 100 000.
var manyIdle = flag.Int("idle", 3000, "connections that TestManyIdle holds")

// TestManyIdle: connections from several addresses of one Stack over a pipe are held
// at no more than 8 KiB of heap for each end, and every one still moves a byte.
func TestManyIdle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector multiplies memory; the figures are those of the ordinary build")
	}
	n := *manyIdle
	cfg := Config{MemoryLimit: -1, TCP: tcp.Config{
		MaxHandshakesPerSource: -1, MaxHandshakesPerDestination: -1, MaxStreams: -1, AcceptQueue: 4096,
	}}
	x, y := l3conn.Pipe(0, 0)
	// An own address has 28 232 ports to dial from: there is one for each 8 192 of the
	// destinations of hold, which are even.
	var client []netip.Prefix
	for i := range 16 {
		client = append(client, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(i>>2), byte(i<<6) | 63, 253}), 18))
	}
	c, s := pairOn(t, x, y, Config{Addrs: client, MemoryLimit: cfg.MemoryLimit, TCP: cfg.TCP}, cfg)
	streams := s.TCP().Streams()
	warm(t, c, streams)
	empty, _ := heap()
	held := hold(t, c, streams, n)
	full, goroutines := heap()
	each := float64(full-empty) / float64(len(held))
	t.Logf("%d connections: %.2f KiB of heap for each end, %d goroutines", n, each/1024, goroutines)
	if each > 8<<10 {
		t.Errorf("%.0f bytes of heap for each end, want at most 8 KiB", each)
	}
	byID := make(map[[2]netip.AddrPort]*tcp.Stream, n)
	for _, st := range held[n:] {
		byID[[2]netip.AddrPort{st.Source(), st.Destination()}] = st
	}
	for _, st := range held[:n] {
		other := byID[[2]netip.AddrPort{st.Source(), st.Destination()}]
		if other == nil {
			t.Fatalf("nobody accepted the stream from %v to %v", st.Source(), st.Destination())
		}
		if _, err := st.Write([]byte{42}); err != nil {
			t.Fatal(err)
		}
		if b, err := readFull(other, 1); err != nil || b[0] != 42 {
			t.Fatalf("read %v, %v", b, err)
		}
	}
}

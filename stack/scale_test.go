package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/tcp"
)

// heap returns the bytes and goroutines in use after garbage collection.
func heap() (bytes uint64, goroutines int) {
	runtime.GC()
	runtime.GC() // the first only marks what pools still hold
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}

// TestTenThousandIdle: 10 000 streams to 10 000 destinations held, then closed:
// at most 7 KiB of heap per Stream and no goroutine per Stream. A second round
// needs no more than the first, and once the stacks are closed everything is back.
func TestTenThousandIdle(t *testing.T) {
	const n = 10_000
	if raceEnabled {
		t.Skip("the race detector multiplies memory; the figures are those of the ordinary build")
	}
	idle(t, n, 1) // once before anything is counted: see below what stays
	before, goroutines := heap()
	first, second, during := idle(t, n, 2)
	t.Logf("%.2f KiB of heap per idle Stream, %d goroutines with %d Streams; %.2f KiB in a second round",
		first/1024, during, 2*n, second/1024)
	if first > 7*1024 {
		t.Errorf("%.0f bytes of heap per idle Stream, want at most 7 KiB", first)
	}
	if second > first*1.1 {
		t.Errorf("%.0f bytes per Stream in the second round, %.0f in the first", second, first)
	}
	if during > goroutines+100 {
		t.Errorf("%d goroutines with %d idle Streams, %d without", during, 2*n, goroutines)
	}
	// What stays is the runtime's and not a Stack's: it keeps the descriptors of as
	// many goroutines as ever lived at once, and 10 000 TIME-WAIT timers that fire
	// together are 10 000 goroutines. A twentieth of what the streams took is room
	// for that, and none for a leak.
	limit := before + uint64(first*2*n/20)
	after, left := heap()
	for ctx := soon(t); (after > limit || left > goroutines) && ctx.Err() == nil; {
		after, left = heap() // goroutines that were told to end may still be ending
	}
	t.Logf("heap %d KiB before, %d KiB more with the streams, %d KiB after; goroutines %d and %d",
		before>>10, int(first*2*n)>>10, after>>10, goroutines, left)
	if after > limit || left > goroutines {
		t.Errorf("heap %d bytes after, %d before; goroutines %d and %d", after, before, left, goroutines)
	}
}

// idle opens n connections between two stacks, measures the heap per Stream
// against empty stacks, closes them, and all that rounds times; then it closes
// the stacks. It returns the figures of the first and the last round.
func idle(t *testing.T, n, rounds int) (first, last float64, goroutines int) {
	t.Helper()
	cfg := Config{MemoryLimit: -1, TCP: tcp.Config{MaxHandshakesPerSource: -1, AcceptQueue: 4096}}
	x, y := l3conn.Pipe(0, 0)
	c, s, stop, err := stacks(x, y, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	streams := s.TCP().Streams()
	warm(t, c, streams)
	empty, _ := heap()
	for round := range rounds {
		held := hold(t, c, streams, n)
		full, g := heap()
		last = float64(full-empty) / float64(len(held))
		goroutines = max(goroutines, g)
		if round == 0 {
			first = last
		}
		for _, st := range held {
			_ = st.Close()
		}
		ctx := soon(t)
		for c.tcp.streams()+s.tcp.streams()+c.Stats().Closing.Closing+s.Stats().Closing.Closing > 0 {
			if ctx.Err() != nil {
				t.Fatalf("still open: %d and %d", c.tcp.streams(), s.tcp.streams())
			}
			runtime.Gosched()
		}
	}
	return first, last, goroutines
}

// hold opens n connections from c to as many even addresses and returns both ends, the
// dialled ones first.
func hold(t *testing.T, c *Stack, streams <-chan *tcp.Stream, n int) []*tcp.Stream {
	t.Helper()
	accepted := make(chan []*tcp.Stream)
	go func() {
		var got []*tcp.Stream
		for len(got) < n {
			got = append(got, <-streams)
		}
		accepted <- got
	}()
	const workers = 32
	parts := make([][]*tcp.Stream, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				to := netip.AddrFrom4([4]byte{198, 18 + byte(i>>15), byte(i >> 7), byte(i << 1)})
				conn, err := c.DialContext(background, "tcp", netip.AddrPortFrom(to, 80).String())
				if err != nil {
					t.Errorf("%v: %v", to, err)
					return
				}
				parts[w] = append(parts[w], conn.(*tcp.Stream))
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return append(slices.Concat(parts...), <-accepted...)
}

// warm opens and closes one stream.
func warm(t *testing.T, c *Stack, streams <-chan *tcp.Stream) {
	t.Helper()
	conn, err := c.DialContext(soon(t), "tcp", "198.51.100.1:80")
	if err != nil {
		t.Fatal(err)
	}
	st := <-streams
	_ = conn.Close()
	_ = st.Close()
}

// TestFlood: 5 000 SYNs never completed and 1 000 dials into a black hole from
// one source; another source connects at its first SYN, slots come back, and the
// counters add up.
func TestFlood(t *testing.T) {
	const syns, dials = 5000, 1000
	x, y := l3conn.Pipe(1024, 0)
	s := newStack(t, x, Config{Addrs: serverAddrs, TCP: tcp.Config{
		LazyHandshake: true, HandshakeTimeout: 2 * time.Second, DecideTimeout: 2 * time.Second,
	}})
	streams := s.TCP().Streams()
	// The application dials upstream for each SYN: those to the black hole stay
	// undecided, the rest are answered at once.
	var app sync.WaitGroup
	stop := make(chan struct{})
	app.Go(func() {
		for {
			select {
			case st, ok := <-streams:
				if !ok {
					return
				}
				if st.Destination().Port() == 9 {
					continue // black hole: never decided
				}
				app.Go(func() { _ = st.Handshake(background) })
			case <-stop:
				return
			}
		}
	})
	answers := make(chan packet.Packet, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 1500)
		for {
			n, err := y.Read(b)
			if err != nil {
				return
			}
			var p packet.Packet
			if p.Decode(append([]byte(nil), b[:n]...)) == drop.None && p.Dst == netip.MustParseAddr("10.0.0.99") {
				select {
				case answers <- p:
				default:
				}
			}
		}
	})
	syn := func(from netip.Addr, port uint16, to netip.AddrPort) {
		t.Helper()
		raw := packet.AppendTCP(nil, packet.TCPHeader{
			Src: netip.AddrPortFrom(from, port), Dst: to, Seq: uint32(port), Flags: packet.SYN, Window: 65535}, nil)
		if _, err := y.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	attacker := netip.MustParseAddr("10.0.0.66")
	for i := range dials {
		syn(attacker, uint16(20000+i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 9))
	}
	for i := range syns {
		syn(attacker, uint16(30000+i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 80))
	}
	syn(netip.MustParseAddr("10.0.0.99"), 5555, netip.MustParseAddrPort("198.51.100.7:80"))
	select {
	case p := <-answers:
		if p.Flags&(packet.SYN|packet.ACK) != packet.SYN|packet.ACK {
			t.Errorf("the other source was answered with flags %#x", p.Flags)
		}
	case <-soon(t).Done():
		t.Fatal("the other source was not answered at its first SYN")
	}
	d := s.Stats().Drops
	refused := d["syn_limit_source"] + d["syn_limit_global"] + d["syn_limit_destination"] + d["syn_queue_full"]
	if refused == 0 {
		t.Error("a flood of one source was refused nothing")
	}
	ctx := soon(t)
	for {
		h := s.Stats().TCP.Handshakes
		if h.Held == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("slots did not come back: %+v", h)
		}
		time.Sleep(10 * time.Millisecond) // poll: the timeouts are the system's
	}
	st := s.Stats()
	for name, l := range map[string]struct{ Acquired, Released, Held uint64 }{
		"handshakes": {st.TCP.Handshakes.Acquired, st.TCP.Handshakes.Released, uint64(st.TCP.Handshakes.Held)},
	} {
		if l.Acquired != l.Released+l.Held {
			t.Errorf("%s: acquired %d, released %d, held %d", name, l.Acquired, l.Released, l.Held)
		}
	}
	if got := st.TCP.Handshakes.Acquired + refused; got != syns+dials+1 {
		t.Errorf("acquired %d + refused %d is not %d", st.TCP.Handshakes.Acquired, refused, syns+dials+1)
	}
	close(stop)
	_ = s.Close()
	app.Wait()
	_ = y.Close()
	reader.Wait()
}

// TestShutdown: 100 busy flows all finish; those that do not are reset and
// reported.
func TestShutdown(t *testing.T) {
	for _, finish := range []bool{true, false} {
		c, s := pair(t, Config{}, Config{})
		streams := s.TCP().Streams()
		var clients, servers []*tcp.Stream
		for range 100 {
			conn, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80")
			if err != nil {
				t.Fatal(err)
			}
			clients, servers = append(clients, conn.(*tcp.Stream)), append(servers, <-streams)
		}
		var wg sync.WaitGroup
		if finish {
			for i := range clients {
				wg.Go(func() {
					bothWays(t, clients[i], servers[i], 200_000)
					_ = clients[i].Close()
					_ = servers[i].Close()
				})
			}
		}
		ctx := soon(t)
		if !finish {
			var cancel context.CancelFunc
			ctx, cancel = contextSoonOver(t)
			defer cancel()
		}
		err := s.Shutdown(ctx)
		wg.Wait()
		var se *ShutdownError
		switch {
		case finish && err != nil:
			t.Errorf("Shutdown: %v", err)
		case !finish && (!errors.As(err, &se) || se.Reset != 100 || !errors.Is(err, context.DeadlineExceeded)):
			t.Errorf("Shutdown: %v, want 100 reset", err)
		}
		if !finish {
			for _, st := range clients {
				if _, err := st.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("client of a stack that was shut down: %v", err)
				}
			}
		}
		if _, err := s.TCP().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	}
}

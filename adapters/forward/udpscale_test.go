package forward

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/udp"
)

// crowd is many clients behind a packet conn, whose datagrams are made by hand, and
// an echo server of the host that they all ask, at server.
type crowd struct {
	t      testing.TB
	fwd    *Server
	stack  *stack.Stack
	conn   *l3conn.PipeEnd
	server netip.AddrPort
	answer chan netip.AddrPort // clients that were answered

	mu      sync.Mutex
	evicted []netip.AddrPort
}

func newCrowd(t testing.TB, server string, cfg stack.Config) *crowd {
	t.Helper()
	x, y := l3conn.Pipe(0, 0)
	c := &crowd{
		t: t, conn: x, server: netip.MustParseAddrPort(server),
		answer: make(chan netip.AddrPort, 64),
	}
	echo, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	real := echo.LocalAddr().(*net.UDPAddr).AddrPort()
	c.fwd = &Server{Route: func(context.Context, outbound.Flow) (Target, error) {
		return Target{Addr: real, Trusted: true}, nil
	}}
	var all sync.WaitGroup
	all.Go(func() { // ends with echo
		b := make([]byte, 2000)
		for {
			n, from, err := echo.(*net.UDPConn).ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = echo.(*net.UDPConn).WriteToUDPAddrPort(b[:n], from)
		}
	})
	all.Go(func() { // ends with the pipe
		defer close(c.answer)
		b := make([]byte, 2000)
		for {
			n, err := x.Read(b)
			if err != nil {
				return
			}
			var p packet.Packet
			if cause := p.Decode(b[:n]); cause != drop.None || p.Proto != packet.UDP || p.SrcAddrPort() != c.server {
				t.Errorf("the stack sent %x", b[:n])
				continue
			}
			c.answer <- p.DstAddrPort()
		}
	})
	t.Cleanup(func() {
		_ = x.Close()
		_ = echo.Close()
		for range c.answer {
		}
		all.Wait()
	})
	cfg.Trace.Close = func(f stack.Flow) {
		if f.Cause == error(stack.Evicted) {
			c.mu.Lock()
			c.evicted = append(c.evicted, f.Source)
			c.mu.Unlock()
		}
	}
	c.stack = runStack(t, y, cfg)
	r := &rig{t: t, fwd: c.fwd, work: c.fwd.newSession(c.stack)}
	r.serve()
	return c
}

// client returns a port of the nth source.
func client(n, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 7, byte(n >> 8), byte(n)}), uint16(port))
}

// ask has each of the clients ask, some at a time, and waits for all answers.
func (c *crowd) ask(clients []netip.AddrPort) {
	c.t.Helper()
	const window = 32 // so that no queue of anybody's overflows
	end := time.After(6 * patience)
	waiting := 0
	take := func() {
		select {
		case <-c.answer:
			waiting--
		case <-end:
			c.t.Fatalf("%d answers are missing: %+v, %+v", waiting, c.fwd.Stats(), c.stack.Stats().Drops)
		}
	}
	for _, from := range clients {
		if _, err := c.conn.Write(packet.AppendUDP(nil, from, c.server, 64, 0, []byte("question"))); err != nil {
			c.t.Fatal(err)
		}
		if waiting++; waiting == window {
			take()
		}
	}
	for waiting > 0 {
		take()
	}
}

// needFiles skips the test if the process may not open n files.
func needFiles(t *testing.T, n int) {
	t.Helper()
	if limit := fileLimit(); limit < n {
		t.Skipf("needs %d open files, may have %d", n, limit)
	}
}

// TestDNSBurst: ten thousand queries, each from a port of its own as resolvers send
// them, leave no Socket and no upstream socket once their timeout has passed.
func TestDNSBurst(t *testing.T) {
	const queries = 10_000
	needFiles(t, queries+1000)
	c := newCrowd(t, "192.0.2.53:53", stack.Config{UDP: udp.Config{DNSIdleTimeout: 2 * time.Second}})
	files := openFiles()
	clients := make([]netip.AddrPort, queries)
	for i := range clients {
		clients[i] = client(0, 10_000+i)
	}
	c.ask(clients)
	wait(t, "the sockets to go", func() bool {
		return c.stack.Stats().UDP.Sockets == 0 && c.fwd.Stats().Sockets == 0 && openFiles() <= files+1
	})
	if st := c.fwd.Stats(); st.DatagramsOut != queries || st.DatagramsIn != queries || st.DatagramsLost != 0 {
		t.Errorf("%+v", st)
	}
	if st := c.stack.Stats(); st.UDP.Evicted != 0 || len(st.Drops) != 0 || st.UDP.QueuedBytes != 0 {
		t.Errorf("%+v", st)
	}
}

// TestTenThousandMappings: ten thousand ports of a hundred sources have an upstream
// socket each, at most 3 KiB of heap, and no goroutine where the system has a poller.
// At the limit a source that floods evicts its own, each counted, and a quiet source
// keeps what it has.
func TestTenThousandMappings(t *testing.T) {
	const sources, each, n, flood = 100, 100, 10_000, 500
	if raced {
		t.Skip("the race detector multiplies memory; the figures are those of the ordinary build")
	}
	needFiles(t, n+1000)
	c := newCrowd(t, "192.0.2.7:7", stack.Config{UDP: udp.Config{
		MaxSockets: n + 1, IdleTimeout: -1, OneShotTimeout: -1, // however long a busy machine takes
	}})
	quiet := client(sources, 1)
	c.ask([]netip.AddrPort{quiet, client(0, 1)})
	before, goroutines := heap(), runtime.NumGoroutine()
	var clients []netip.AddrPort
	for s := range sources {
		for p := range each {
			if s+p > 0 {
				clients = append(clients, client(s, 1+p))
			}
		}
	}
	c.ask(clients)
	running := runtime.NumGoroutine()
	if polled { // those that still run may hold buffers, too
		wait(t, "goroutines to end", func() bool {
			running = runtime.NumGoroutine()
			return running <= goroutines+10
		})
	}
	perMapping := (heap() - before) / int64(len(clients))
	t.Logf("%d bytes of heap for each mapping; %d goroutines, %d without mappings", perMapping, running, goroutines)
	if polled && perMapping > 3<<10 {
		t.Errorf("%d bytes of heap for each mapping, want at most 3 KiB", perMapping)
	}
	if st := c.fwd.Stats(); st.Sockets != n+1 {
		t.Errorf("%d sockets, want %d", st.Sockets, n+1)
	}

	// A flood of one of the sources.
	for p := range flood { // one at a time, or it could evict what nobody has answered yet
		c.ask([]netip.AddrPort{client(7, 20_000+p)})
	}
	wait(t, "the evicted to go", func() bool { return c.fwd.Stats().Sockets == n+1 })
	st := c.stack.Stats()
	if st.UDP.Sockets != n+1 || st.UDP.Evicted != flood || st.Drops[drop.UDPSocketLimit.String()] != flood {
		t.Errorf("%+v, %v", st.UDP, st.Drops)
	}
	c.mu.Lock()
	for _, e := range c.evicted {
		if e.Addr() != client(7, 1).Addr() {
			t.Errorf("%v was evicted", e)
		}
	}
	c.mu.Unlock()
	sockets := c.fwd.Stats().Sockets
	c.ask([]netip.AddrPort{quiet})
	if now := c.stack.Stats().UDP; now.Evicted != flood || c.fwd.Stats().Sockets != sockets {
		t.Errorf("the quiet source has lost its mapping: %+v", now)
	}
}

// heap returns the bytes in use once the pools are empty.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

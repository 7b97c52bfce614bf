package stack

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/tcp"
)

// TestSources: packets of foreign sources are dropped and counted, of every kind.
func TestSources(t *testing.T) {
	o := newOutside(t, Config{Addrs: serverAddrs, ICMP: ICMPConfig{Echo: EchoLocal},
		Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}})
	o.TCP().Streams()
	o.UDP().Sockets()
	dropped := uint64(0)
	for _, from := range []string{"10.0.1.2", "192.0.2.9", "fd00:0:0:1::2"} {
		src, dst := netip.MustParseAddr(from), netip.MustParseAddr("198.51.100.7")
		if src.Is6() {
			dst = netip.MustParseAddr("2001:db8::7")
		}
		a, b := netip.AddrPortFrom(src, 1000), netip.AddrPortFrom(dst, 80)
		syn := packet.AppendTCP(nil, packet.TCPHeader{Src: a, Dst: b, Seq: 7, Flags: packet.SYN, Window: 65535}, nil)
		datagram := packet.AppendUDP(nil, a, b, 64, 0, []byte("x"))
		for _, pkt := range [][]byte{syn, datagram, extended(datagram, 60), echoRequest(src, dst, []byte("x"))} {
			if answers := o.ask(pkt); len(answers) != 0 {
				t.Errorf("from %v: answered by protocol %d", from, answers[0].Proto)
			}
			dropped++
		}
	}
	if n := o.drops.Load(drop.ForeignSource); n != dropped {
		t.Errorf("%d of %d counted: %v", n, dropped, o.Stats().Drops)
	}
	if n := o.flows.Len(); n != 0 {
		t.Errorf("%d flows", n)
	}
}

// traced notes the callbacks of each flow.
type traced struct {
	mu     sync.Mutex
	events map[FlowID][]string
	last   map[FlowID]Flow
	closed chan FlowID
}

func newTraced() *traced {
	return &traced{events: make(map[FlowID][]string), last: make(map[FlowID]Flow), closed: make(chan FlowID, 16)}
}

func (r *traced) trace() Trace {
	note := func(what string) func(Flow) {
		return func(f Flow) {
			r.mu.Lock()
			r.events[f.ID] = append(r.events[f.ID], what)
			r.last[f.ID] = f
			r.mu.Unlock()
			if what == "close" {
				select {
				case r.closed <- f.ID:
				default:
				}
			}
		}
	}
	return Trace{Open: note("open"), Handshake: note("handshake"), Close: note("close")}
}

// TestTrace: each flow is opened, shaken and closed once, in this order, with its
// account; callbacks may ask the Stack.
func TestTrace(t *testing.T) {
	tr := newTraced()
	trace := tr.trace()
	open := trace.Open
	var server *Stack
	trace.Open = func(f Flow) {
		open(f)
		_ = server.Stats() // no lock is held
		for range server.Flows() {
			break
		}
	}
	x, y := l3conn.Pipe(0, 0)
	s, err := New(y, &Config{Addrs: serverAddrs, Trace: trace})
	if err != nil {
		t.Fatal(err)
	}
	server = s
	run(t, s)
	c := newStack(t, x, Config{Addrs: clientAddrs})
	a, b, err := connect(c, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("four")); err != nil {
		t.Fatal(err)
	}
	if _, err := readFull(b.(*tcp.Stream), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte("six six")); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	_ = a.Close()
	id := <-tr.closed
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if got := tr.events[id]; len(got) != 3 || got[0] != "open" || got[1] != "handshake" || got[2] != "close" {
		t.Errorf("callbacks %v", got)
	}
	f := tr.last[id]
	if f.Network != "tcp" || f.In != 4 || f.Out != 7 || f.Dialed || f.Cause != error(Closed) || f.Ended.Before(f.Opened) {
		t.Errorf("last account: %+v", f)
	}
}

// TestFlowsAndKill: Flows lists what lives, Kill ends one with the caller's cause.
func TestFlowsAndKill(t *testing.T) {
	tr := newTraced()
	c, s := pair(t, Config{}, Config{Trace: tr.trace()})
	a, b, err := connect(c, s)
	if err != nil {
		t.Fatal(err)
	}
	sockets := s.UDP().Sockets()
	u, err := c.DialContext(soon(t), "udp", "198.51.100.7:53")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("query")); err != nil {
		t.Fatal(err)
	}
	sock := <-sockets
	if n, _, err := sock.ReadFrom(make([]byte, 9)); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	listed := make(map[string]Flow)
	for f := range s.Flows() {
		listed[f.Network] = f
	}
	if len(listed) != 2 || listed["tcp"].ID != b.(*tcp.Stream).ID() || listed["udp"].In != 5 || listed["tcp"].Cause != nil {
		t.Fatalf("flows %+v", listed)
	}
	why := errors.New("banned")
	for _, f := range listed {
		if !s.Kill(f.ID, why) {
			t.Errorf("%s: not found", f.Network)
		}
		if s.Kill(f.ID, nil) {
			t.Errorf("%s: found once more", f.Network)
		}
	}
	if s.Kill(12345, nil) {
		t.Error("found what never was")
	}
	for range 2 {
		id := <-tr.closed
		tr.mu.Lock()
		if f := tr.last[id]; !errors.Is(f.Cause, why) {
			t.Errorf("%s ended with %v", f.Network, f.Cause)
		}
		tr.mu.Unlock()
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, why) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read of a killed stream: %v", err)
	}
	if _, _, err := sock.ReadFrom(make([]byte, 1)); !errors.Is(err, why) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadFrom of a killed socket: %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client: %v", err)
	}
	if n := s.Stats().Flows; n != 0 {
		t.Errorf("%d flows left", n)
	}
}

// TestReceiveBufferFull: what the engine refuses because the application does not
// read is counted, like all that is dropped.
func TestReceiveBufferFull(t *testing.T) {
	w := &wire{closed: make(chan struct{}), known: make(map[netip.AddrPort]*peer)}
	s := newStack(t, w, Config{})
	<-s.started
	s.TCP().Streams()
	f := fuzzFlows[0]
	connectFuzz(t, s, w, f.client, f.server)
	h := packet.TCPHeader{Src: f.client, Dst: f.server, Ack: w.state(f.client).next, Flags: packet.ACK | packet.PSH, Window: 65535,
		Options: []byte{1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1}}
	for i, ctx := uint32(0), soon(t); s.Stats().Drops[drop.TransportUndelivered.String()] == 0; i++ {
		h.Seq = fuzzISN + i
		s.deliver(inbound(packet.AppendTCP(nil, h, []byte("x"))))
		if ctx.Err() != nil {
			t.Fatalf("%d segments that nobody reads: %v", i, s.Stats().Drops)
		}
	}
}

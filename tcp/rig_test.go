package tcp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/door"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/leak"
	"l3extract/internal/link"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience bounds what a test waits for before it calls it lost.
const patience = 30 * time.Second

// wallClock is the time of package time, in a bubble that of the bubble.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) AfterFunc(d time.Duration, f func()) netstack.Timer { return time.AfterFunc(d, f) }

// tap is an end of a pipe that sees what leaves, and may drop it.
type tap struct {
	*l3conn.PipeEnd
	filter atomic.Pointer[func(p *packet.Packet) (pass bool)]

	mu   sync.Mutex
	pkt  packet.Packet
	data atomic.Int64 // TCP packets with payload that passed
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	pass, payload := true, false
	if c.pkt.Decode(b) == drop.None {
		payload = len(c.pkt.Payload) > 0
		if f := c.filter.Load(); f != nil {
			pass = (*f)(&c.pkt)
		}
	}
	c.mu.Unlock()
	if !pass {
		return len(b), nil
	}
	if payload {
		c.data.Add(1)
	}
	return c.PipeEnd.Write(b)
}

func (c *tap) setFilter(f func(p *packet.Packet) bool) { c.filter.Store(&f) }

// jam is a link that a test can congest.
type jam struct {
	link  *link.Link
	asked atomic.Int64

	mu    sync.Mutex
	clear chan struct{} // nil: it is not
}

func (j *jam) Congested() (<-chan struct{}, bool) {
	j.asked.Add(1)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.clear != nil {
		return j.clear, true
	}
	return j.link.Congested()
}

func (j *jam) set(on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if on {
		j.clear = make(chan struct{})
	} else {
		close(j.clear)
		j.clear = nil
	}
}

// side is one engine with the streams' part of a stack around it.
type side struct {
	env    *Env
	cfg    Config
	engine *netstack.Engine
	link   *link.Link
	conn   *tap
	drops  drop.Counters
	door   *door.Door
	pkt    packet.Packet
	syns   chan *netstack.SYN
	jam    jam
}

func (h *side) SYN(p *packet.Packet) {
	h.syns <- &netstack.SYN{Raw: append([]byte(nil), p.Raw...), Source: p.SrcAddrPort(), Destination: p.DstAddrPort()}
}

func (h *side) Stray(p *packet.Packet) {
	if p.Flags&packet.RST == 0 {
		h.link.WriteControl(packet.AppendReset(nil, p))
	}
}

func (h *side) Reassembled([]byte) {}

func (h *side) deliver(b []byte) {
	if c := h.door.Check(&h.pkt, b); c != drop.None {
		h.drops.Add(c)
	} else {
		h.engine.DeliverTCP(&h.pkt)
	}
}

// rig is two sides on one pipe. b dials, a accepts.
type rig struct {
	t    testing.TB
	a, b *side
	port atomic.Uint32
}

func newRig(t testing.TB, cfg Config) *rig { return newRigLimit(t, cfg, 0) }

func newRigLimit(t testing.TB, cfg Config, memory int64) *rig {
	t.Helper()
	x, y := l3conn.Pipe(0, 1500)
	r := &rig{t: t, a: newSide(t, &tap{PipeEnd: x}, cfg, memory), b: newSide(t, &tap{PipeEnd: y}, cfg, memory)}
	r.port.Store(40000)
	return r
}

// newRigTight is a rig with room in memory where nothing grows any more.
func newRigTight(t testing.TB, cfg Config) *rig {
	const limit = 16 << 20
	r := newRigLimit(t, cfg, limit)
	for _, h := range []*side{r.a, r.b} {
		h.env.Budget.Hold(budget.Datagram, limit*7/8)
	}
	return r
}

func newSide(t testing.TB, conn *tap, cfg Config, memory int64) *side {
	t.Helper()
	resolved, err := cfg.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	h := &side{
		cfg: resolved, conn: conn,
		syns: make(chan *netstack.SYN, 1024),
		door: door.New(door.Config{VerifyChecksums: true}),
	}
	h.link = link.New(link.Config{Conn: conn, MTU: 1500, Drops: &h.drops, Granted: func() int64 { return 1 << 30 }})
	h.jam.link = h.link
	account := budget.New(memory)
	h.engine, err = netstack.New(netstack.Config{
		Link: h.link, Handler: h, Budget: account, Congestion: "reno", TimeWait: time.Second, FinWait2: 5 * time.Second,
		MaxRetries: 8, ReceiveBuffer: 64 << 10, SendBuffer: 64 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg, handshakes sync.WaitGroup
	done := make(chan struct{})
	h.env = &Env{
		Flows: flow.NewRegistry(flow.Trace{}), Budget: account, Drops: &h.drops,
		Link: &h.jam, Out: h.link, Clock: wallClock{}, Logger: slog.New(slog.DiscardHandler), MTU: 1500,
		Flushers: NewFlushers(0), Closer: NewCloser(),
		Go:   func(f func()) { handshakes.Go(f) },
		Done: done, Err: func() error { return net.ErrClosed },
	}
	wg.Go(func() {
		h.link.Read(func(pkts []link.Packet) {
			for _, p := range pkts {
				h.deliver(p.Data)
			}
		})
	})
	wg.Go(func() { h.link.Write(ctx) })
	wg.Go(func() { _ = h.env.Flushers.Run(ctx) })
	wg.Go(func() { _ = h.env.Closer.Run(ctx) })
	t.Cleanup(func() {
		for f := range h.env.Flows.All() {
			f.Kill(flow.Shutdown)
		}
		handshakes.Wait()
		h.engine.Close()
		h.link.Stop()
		cancel()
		close(done)
		h.link.Unblock(true)
		wg.Wait()
		if u := h.env.Budget.Snapshot(); u.Receive|u.Send|u.WriteBuffer|u.Flow|u.Promised != 0 {
			t.Errorf("the budget was not given back: %+v", u)
		}
	})
	return h
}

// engineShake answers one SYN for a pending stream.
type engineShake struct {
	h   *side
	syn *netstack.SYN
}

func (e engineShake) Answer(done func(*netstack.Endpoint, error)) func(error) {
	return answerBy(e.shake, done)
}

func (e engineShake) shake(ctx context.Context) (*netstack.Endpoint, error) {
	n, _ := e.h.env.Budget.Start()
	return e.h.engine.Handshake(ctx, e.syn, netstack.EndpointOptions{ReceiveBuffer: n, SendBuffer: n})
}

func (e engineShake) Reject(error) {
	var p packet.Packet
	if p.Decode(e.syn.Raw) == drop.None {
		e.h.link.WriteControl(packet.AppendReset(nil, &p))
	}
}

// dial starts a connection from b to a, and returns how it ended.
func (r *rig) dial(source, destination netip.AddrPort) <-chan result {
	done := make(chan result, 1)
	go func() { // ends with its handshake, and the test waits for the result
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		n, _ := r.b.env.Budget.Start()
		ep, err := r.b.engine.Dial(ctx, source, destination, netstack.EndpointOptions{ReceiveBuffer: n, SendBuffer: n})
		if err != nil {
			done <- result{nil, err}
			return
		}
		done <- result{NewStream(r.b.env, &r.b.cfg, ep, ep.Local(), ep.Remote(), true), nil}
	}()
	return done
}

type result struct {
	s   *Stream
	err error
}

// ends of a fresh connection.
func (r *rig) addrs() (source, destination netip.AddrPort) {
	n := uint16(r.port.Add(1))
	if n%2 == 0 {
		return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), n), netip.MustParseAddrPort("192.0.2.7:80")
	}
	return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::2"), n), netip.MustParseAddrPort("[2001:db8:7::7]:80")
}

// pair returns both ends of a fresh connection: the accepted one of a, the dialled
// one of b. IPv4 and IPv6 take turns.
func (r *rig) pair() (accepted, dialled *Stream) {
	r.t.Helper()
	accepted, wait := r.pending()
	if err := accepted.Handshake(context.Background()); err != nil {
		r.t.Fatalf("handshake: %v", err)
	}
	got := <-wait
	if got.err != nil {
		r.t.Fatalf("dial: %v", got.err)
	}
	return accepted, got.s
}

// pending returns a stream whose handshake is not decided, and its dialler's end.
func (r *rig) pending() (*Stream, <-chan result) {
	r.t.Helper()
	source, destination := r.addrs()
	wait := r.dial(source, destination)
	for {
		select {
		case syn := <-r.a.syns:
			if syn.Source != source {
				continue // sent again by an earlier one, on a slow machine
			}
			return newPending(r.a.env, &r.a.cfg, syn.Source, syn.Destination, engineShake{r.a, syn}), wait
		case <-time.After(patience):
			r.t.Fatal("no SYN came")
			return nil, nil
		}
	}
}

// eventually waits until f is true; it is for what no channel tells of.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// ended waits for the end of a flow and returns its cause.
func cause(t testing.TB, s *Stream) error {
	t.Helper()
	select {
	case <-s.Context().Done():
		return context.Cause(s.Context())
	case <-time.After(patience):
		t.Fatalf("the flow did not end: %+v", s.Info())
	}
	return nil
}

var errno = struct{ reset, pipe error }{syscall.ECONNRESET, syscall.EPIPE}

// ends of streams that are on no wire.
var (
	clientEnd = netip.MustParseAddrPort("10.0.0.2:40000")
	serverEnd = netip.MustParseAddrPort("192.0.2.7:80")
)

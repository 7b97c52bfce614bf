package tcp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

// The clients and destinations of the acceptor's tests.
var (
	clientA = netip.MustParseAddrPort("10.0.0.1:40000")
	clientB = netip.MustParseAddrPort("10.0.0.2:40000")
	server  = netip.MustParseAddrPort("192.0.2.1:80")
	client6 = netip.MustParseAddrPort("[2001:db8::1]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8:1::1]:443")
)

// sentPackets is a link.Output that keeps what it is given.
type sentPackets struct {
	mu   sync.Mutex
	pkts [][]byte
}

func (o *sentPackets) WriteControl(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pkts = append(o.pkts, append([]byte(nil), b...))
	return true
}

func (o *sentPackets) WriteDatagram([]byte) bool { panic("a datagram from TCP") }

// take returns what was sent since the last call.
func (o *sentPackets) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.pkts
	o.pkts = nil
	return p
}

// fakeEngine answers SYNs as its function says; nil waits for the context.
type fakeEngine struct {
	mu    sync.Mutex
	syns  []netstack.SYN
	reply func(ctx context.Context, syn *netstack.SYN) (*netstack.Endpoint, error)
}

func (e *fakeEngine) Answer(syn *netstack.SYN, opt netstack.EndpointOptions, done func(*netstack.Endpoint, error)) func(error) {
	return answerBy(func(ctx context.Context) (*netstack.Endpoint, error) { return e.handshake(ctx, syn, opt) }, done)
}

// answerBy makes an answer of a function that waits. Its goroutine ends when the answer
// has, which tests await by closing the table or the stream.
func answerBy(handshake func(context.Context) (*netstack.Endpoint, error), done func(*netstack.Endpoint, error)) func(error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		defer cancel(nil)
		ep, err := handshake(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		done(ep, err)
	}()
	return cancel
}

func (e *fakeEngine) handshake(ctx context.Context, syn *netstack.SYN, _ netstack.EndpointOptions) (*netstack.Endpoint, error) {
	e.mu.Lock()
	e.syns = append(e.syns, *syn)
	reply := e.reply
	e.mu.Unlock()
	if reply != nil {
		return reply(ctx, syn)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (e *fakeEngine) answered() []netstack.SYN {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]netstack.SYN(nil), e.syns...)
}

// synRig is a Table with everything around it in the hands of a test.
type synRig struct {
	t      *testing.T
	table  *Table
	engine fakeEngine
	drops  drop.Counters
	sent   sentPackets
	budget *budget.Budget
	flows  *flow.Registry
}

// newSYNRig returns a rig whose table is closed when the test ends.
func newSYNRig(t *testing.T, cfg Config, change ...func(*TableConfig)) *synRig {
	t.Helper()
	resolved, err := cfg.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	r := &synRig{t: t, budget: budget.New(0), flows: flow.NewRegistry(flow.Trace{})}
	tc := TableConfig{
		Env: &Env{
			Flows: r.flows, Budget: r.budget, Drops: &r.drops, Out: &r.sent,
			Clock: wallClock{}, Logger: slog.New(slog.DiscardHandler), MTU: 1500,
		},
		Config: &resolved, Engine: &r.engine,
	}
	for _, f := range change {
		f(&tc)
	}
	r.table = NewTable(tc)
	t.Cleanup(func() { r.table.Close(flow.Shutdown) })
	return r
}

// listen makes the acceptor of all addresses listen, with nobody taking streams.
func (r *synRig) listen() *Acceptor {
	a := r.table.Acceptor()
	a.asked.Store(true)
	return a
}

// syn builds a SYN.
func syn(src, dst netip.AddrPort, seq uint32) *packet.Packet {
	return segment(packet.TCPHeader{Src: src, Dst: dst, Seq: seq, Flags: packet.SYN, Window: 65535, Options: []byte{2, 4, 5, 180}}, nil)
}

func segment(h packet.TCPHeader, payload []byte) *packet.Packet {
	p := new(packet.Packet)
	if c := p.Decode(packet.AppendTCP(nil, h, payload)); c != drop.None {
		panic(c)
	}
	return p
}

// from returns the n-th client: one source address for n below 60000.
func from(addr string, n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(1024+n))
}

func (r *synRig) counted(c drop.Cause, want uint64) {
	r.t.Helper()
	if got := r.drops.Load(c); got != want {
		r.t.Errorf("%v counted %d times, want %d (all: %v)", c, got, want, r.drops.Snapshot())
	}
}

// held checks how many places are held, and that the accounts add up.
func (r *synRig) held(handshakes, streams, queue int) {
	r.t.Helper()
	s := r.table.Stats()
	if s.Handshakes.Held != handshakes || s.Streams.Held != streams || s.Queue.Held != queue {
		r.t.Errorf("held: %d handshakes, %d streams, %d in the queue; want %d, %d, %d",
			s.Handshakes.Held, s.Streams.Held, s.Queue.Held, handshakes, streams, queue)
	}
	for name, l := range map[string]struct{ a, r, h uint64 }{
		"handshakes": {s.Handshakes.Acquired, s.Handshakes.Released, uint64(s.Handshakes.Held)},
		"streams":    {s.Streams.Acquired, s.Streams.Released, uint64(s.Streams.Held)},
		"queue":      {s.Queue.Acquired, s.Queue.Released, uint64(s.Queue.Held)},
	} {
		if l.a != l.r+l.h {
			r.t.Errorf("%s: %d acquired, %d released, %d held", name, l.a, l.r, l.h)
		}
	}
}

// answerSent returns what the one packet sent says, and checks its addresses.
func (r *synRig) answerSent(to *packet.Packet) answer {
	r.t.Helper()
	pkts := r.sent.take()
	if len(pkts) == 0 {
		return silence
	}
	if len(pkts) > 1 {
		r.t.Fatalf("%d packets sent", len(pkts))
	}
	var p packet.Packet
	if c := p.Decode(pkts[0]); c != drop.None || !p.ChecksumOK() {
		r.t.Fatalf("bad packet sent: %v", c)
	}
	if p.Src != to.Dst || p.Dst != to.Src {
		r.t.Errorf("answer from %v to %v, want from %v to %v", p.Src, p.Dst, to.Dst, to.Src)
	}
	if p.Proto == packet.TCP {
		if p.Flags&packet.RST == 0 || p.Ack != to.Seq+1 || p.SrcPort != to.DstPort || p.DstPort != to.SrcPort {
			r.t.Errorf("not the reset of that SYN: flags %#x ack %d", p.Flags, p.Ack)
		}
		return reset
	}
	e, ok := packet.ParseICMPError(&p)
	if !ok || e.Src != to.SrcAddrPort() || e.Dst != to.DstAddrPort() || e.Seq != to.Seq {
		r.t.Errorf("the ICMP error does not quote the SYN: %+v", e)
	}
	switch e.Kind {
	case packet.HostUnreachable:
		return hostUnreachable
	case packet.NetUnreachable:
		return netUnreachable
	case packet.AdminProhibited:
		return prohibited
	}
	r.t.Fatalf("unexpected ICMP error %v", e.Kind)
	return silence
}

// requests returns how many requests the table has, remembered ones included.
func (r *synRig) requests() int {
	r.table.syns.mu.Lock()
	defer r.table.syns.mu.Unlock()
	return len(r.table.syns.requests)
}

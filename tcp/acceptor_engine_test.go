package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

// tableOn puts a Table in front of side a's engine.
func (r *rig) tableOn(cfg Config, change ...func(*TableConfig)) *Table {
	r.t.Helper()
	resolved, err := cfg.Resolved()
	if err != nil {
		r.t.Fatal(err)
	}
	h := r.a
	tc := TableConfig{Env: h.env, Config: &resolved, Engine: h.engine}
	for _, f := range change {
		f(&tc)
	}
	table := NewTable(tc)
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { // ends with the test, which waits for it
		var p packet.Packet
		for {
			select {
			case syn := <-h.syns:
				if p.Decode(syn.Raw) == drop.None && !table.HandleSYN(&p) {
					h.Stray(&p)
				}
			case <-stop:
				return
			}
		}
	})
	r.t.Cleanup(func() { // before the engine's own
		close(stop)
		reader.Wait()
		for f := range h.env.Flows.All() {
			f.Kill(flow.Shutdown)
		}
		table.Close(flow.Shutdown)
		if s := table.Stats(); s.Handshakes.Held+s.Streams.Held+s.Queue.Held != 0 {
			r.t.Errorf("places still held: %+v", s)
		}
	})
	return table
}

// TestAcceptOnTheEngine accepts in each way and moves a byte each way.
func TestAcceptOnTheEngine(t *testing.T) {
	accept := map[string]func(*Acceptor) (net.Conn, error){
		"Accept":       (*Acceptor).Accept,
		"AcceptStream": func(a *Acceptor) (net.Conn, error) { return a.AcceptStream(context.Background()) },
		"Streams":      func(a *Acceptor) (net.Conn, error) { return <-a.Streams(), nil },
	}
	for _, lazy := range []bool{false, true} {
		for name, f := range accept {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, Config{})
				table := r.tableOn(Config{LazyHandshake: lazy})
				a := table.Acceptor()
				a.asked.Store(true)
				for range 2 { // v4 and v6
					src, dst := r.addrs()
					dialled := r.dial(src, dst)
					c, err := f(a)
					if err != nil {
						t.Fatal(err)
					}
					if got := c.(*Stream); got.Source() != src || got.Destination() != dst {
						t.Fatalf("accepted %v → %v", got.Source(), got.Destination())
					}
					if _, err := c.Write([]byte("s")); err != nil { // answers the SYN of a lazy one
						t.Fatal(err)
					}
					d := <-dialled
					if d.err != nil {
						t.Fatal(d.err)
					}
					if _, err := d.s.Write([]byte("c")); err != nil {
						t.Fatal(err)
					}
					var b [1]byte
					for _, end := range []net.Conn{c, d.s} {
						if _, err := io.ReadFull(end, b[:]); err != nil {
							t.Fatal(err)
						}
					}
					if s := table.Stats(); s.Handshakes.Held != 0 || s.Streams.Held != 1 || s.Queue.Held != 0 {
						t.Errorf("held: %+v", s)
					}
					_ = c.Close()
					_ = d.s.Close()
					eventually(t, "the stream's place came back", func() bool { return table.Stats().Streams.Held == 0 })
				}
			})
		}
	}
}

// hungry is an engine that takes the whole budget while a handshake runs.
type hungry struct{ *side }

func (e hungry) Answer(syn *netstack.SYN, opt netstack.EndpointOptions, done func(*netstack.Endpoint, error)) func(error) {
	return e.engine.Answer(syn, opt, func(ep *netstack.Endpoint, err error) {
		e.env.Budget.Hold(budget.Datagram, 1<<20)
		done(ep, err)
	})
}

// TestMemoryGoneOnTheEngine has no memory left once a stream is established: it was let
// in, so it is served.
func TestMemoryGoneOnTheEngine(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		r := newRigLimit(t, Config{}, 1<<20)
		table := r.tableOn(Config{LazyHandshake: lazy}, func(c *TableConfig) { c.Engine = hungry{r.a} })
		a := table.Acceptor()
		a.asked.Store(true)
		dialled := r.dial(r.addrs())
		s, err := a.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := <-dialled
		if d.err != nil {
			t.Fatal(d.err)
		}
		if _, err := d.s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		refused := r.dial(r.addrs()) // its SYN is dropped: it will ask again
		eventually(t, "a SYN was dropped", func() bool { return r.a.drops.Load(drop.MemoryLimit) > 0 })
		r.a.env.Budget.Give(budget.Datagram, 1<<20)
		again, err := a.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Handshake(t.Context()); err != nil {
			t.Fatal(err)
		}
		late := <-refused
		if late.err != nil {
			t.Fatal(late.err)
		}
		for _, c := range []*Stream{s, again, d.s, late.s} {
			_ = c.Reset()
		}
		eventually(t, "everything came back", func() bool {
			s := table.Stats()
			return s.Handshakes.Held+s.Streams.Held+s.Queue.Held == 0 && r.a.env.Budget.Snapshot().Used <= 1<<20
		})
		r.a.env.Budget.Give(budget.Datagram, 1<<20) // of the second handshake
	}
}

// TestRefusedOnTheEngine lets clients dial who are refused.
func TestRefusedOnTheEngine(t *testing.T) {
	r := newRig(t, Config{})
	table := r.tableOn(Config{LazyHandshake: true})
	a := table.Acceptor()
	if got := <-r.dial(r.addrs()); !errors.Is(got.err, syscall.ECONNREFUSED) {
		t.Errorf("nobody asked: %v", got.err)
	}
	a.asked.Store(true)
	for range 2 {
		dialled := r.dial(r.addrs())
		s, err := a.AcceptStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Reject(nil); err != nil {
			t.Fatal(err)
		}
		if got := <-dialled; !errors.Is(got.err, syscall.ECONNREFUSED) {
			t.Errorf("rejected: %v", got.err)
		}
	}
	_ = a.Close()
	if got := <-r.dial(r.addrs()); !errors.Is(got.err, syscall.ECONNREFUSED) {
		t.Errorf("closed: %v", got.err)
	}
}

// TestFloodOnTheEngine sends 5000 SYNs from a source that answers nothing; another
// source connects at its first SYN, and the places come back.
func TestFloodOnTheEngine(t *testing.T) {
	r := newRig(t, Config{})
	const timeout = 3 * time.Second
	table := r.tableOn(Config{HandshakeTimeout: timeout})
	a := table.Acceptor()
	a.asked.Store(true)
	hog := netip.MustParseAddr("10.66.66.66")
	var resets sync.WaitGroup
	r.a.conn.setFilter(func(p *packet.Packet) bool {
		if p.Dst != hog {
			return true
		}
		if p.Flags&packet.RST != 0 {
			resets.Done()
		}
		return false
	})
	const n = 5000
	for i := range n {
		dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 6), 7}), 80)
		resets.Add(1)
		if !table.HandleSYN(syn(netip.AddrPortFrom(hog, uint16(1024+i)), dst, uint32(i))) {
			t.Fatal("not handled")
		}
	}
	held := table.Stats().Handshakes.Held
	for range n - held {
		resets.Done() // refused without a word
	}
	if refused := r.a.drops.Total(); int(refused)+held != n {
		t.Errorf("%d held, %d counted: %v", held, refused, r.a.drops.Snapshot())
	}
	var syns atomic.Int32
	r.b.conn.setFilter(func(p *packet.Packet) bool {
		if p.IsSYN() {
			syns.Add(1)
		}
		return true
	})
	got := <-r.dial(netip.MustParseAddrPort("10.0.0.2:40001"), netip.MustParseAddrPort("192.0.1.7:80"))
	if got.err != nil || syns.Load() != 1 {
		t.Fatalf("the other source needed %d SYNs: %v", syns.Load(), got.err)
	}
	if s, err := a.AcceptStream(context.Background()); err != nil || s.Source().Addr() == hog {
		t.Fatalf("accepted %v", err)
	}
	resets.Wait() // each handshake that was given up is reset
	eventually(t, "the places came back", func() bool { return table.Stats().Handshakes.Held == 0 })
	if s := table.Stats(); s.Streams.Held != 1 || s.Queue.Held != 0 || s.Handshakes.Acquired != s.Handshakes.Released {
		t.Errorf("%+v", s)
	}
	if got := r.a.drops.Load(drop.HandshakeTimeout); int(got) != held {
		t.Errorf("%d time-outs counted, want %d", got, held)
	}
}

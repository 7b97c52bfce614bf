package tcp

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/netstack"
	"l3extract/internal/packet"
)

func TestNobodyAsked(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newSYNRig(t, Config{LazyHandshake: lazy})
			if r.table.HandleSYN(syn(clientA, server, 1)) {
				t.Error("an acceptor that nobody asked takes SYNs")
			}
			r.held(0, 0, 0)
			for name, ask := range map[string]func(*Acceptor){
				"Accept":       func(a *Acceptor) { go a.Accept() }, // ends with the table
				"AcceptStream": func(a *Acceptor) { go a.AcceptStream(context.Background()) },
				"Streams":      func(a *Acceptor) { a.Streams() },
			} {
				r := newSYNRig(t, Config{LazyHandshake: lazy})
				ask(r.table.Acceptor())
				synctest.Wait()
				if !r.table.HandleSYN(syn(clientA, server, 1)) {
					t.Errorf("%s did not open the acceptor", name)
				}
				r.table.Close(flow.Shutdown)
			}
			r.table.Close(flow.Shutdown)
		})
	}
}

func TestAdmit(t *testing.T) {
	for _, tc := range []struct {
		verdict Verdict
		cause   drop.Cause
		answer  answer
	}{
		{Accept, drop.None, silence},
		{Refuse, drop.AdmitRefused, reset},
		{Drop, drop.AdmitDropped, silence},
		{Verdict(9), drop.AdmitDropped, silence},
	} {
		synctest.Test(t, func(t *testing.T) {
			var asked []netip.AddrPort
			r := newSYNRig(t, Config{Admit: func(src, dst netip.AddrPort) Verdict {
				asked = append(asked, src, dst)
				return tc.verdict
			}})
			r.listen()
			for _, p := range []*packet.Packet{syn(clientA, server, 1), syn(client6, server6, 1)} {
				asked = nil
				if !r.table.HandleSYN(p) {
					t.Error("not handled")
				}
				if len(asked) != 2 || asked[0] != p.SrcAddrPort() || asked[1] != p.DstAddrPort() {
					t.Errorf("asked about %v", asked)
				}
				if got := r.answerSent(p); got != tc.answer {
					t.Errorf("%v: answer %d, want %d", tc.verdict, got, tc.answer)
				}
			}
			if tc.cause != drop.None {
				r.counted(tc.cause, 2)
				r.held(0, 0, 0)
			} else {
				r.held(2, 2, 2)
			}
			r.table.Close(flow.Shutdown)
		})
	}
}

func TestTooLongSYN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{})
		r.listen()
		h := packet.TCPHeader{Src: clientA, Dst: server, Flags: packet.SYN}
		r.table.HandleSYN(segment(h, make([]byte, maxSYN)))
		r.counted(drop.SYNTooLong, 1)
		r.held(0, 0, 0)
		r.table.HandleSYN(segment(h, make([]byte, 512))) // some data is no harm
		r.held(1, 1, 1)
		r.table.Close(flow.Shutdown)
	})
}

// TestEachLimit fills each limit from one source and looks at the next SYN.
func TestEachLimit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cfg   Config
		n     int // that many fit
		cause drop.Cause
		how   answer
	}{
		{"queue", Config{AcceptQueue: 4}, 4, drop.SYNQueueFull, silence},
		{"handshakes", Config{MaxHandshakes: 4}, 4, drop.SYNLimitGlobal, silence},
		{"handshakes of a source", Config{MaxHandshakesPerSource: 4}, 4, drop.SYNLimitSource, silence},
		{"handshakes to a destination", Config{MaxHandshakesPerDestination: 4}, 4, drop.SYNLimitDestination, silence},
		{"default to a destination", Config{}, 56, drop.SYNLimitDestination, silence},
		{"streams", Config{MaxStreams: 4}, 4, drop.StreamLimitGlobal, reset},
		{"streams of a source", Config{MaxStreamsPerSource: 4}, 4, drop.StreamLimitSource, reset},
		{"streams to a destination", Config{MaxStreamsPerDestination: 4}, 4, drop.StreamLimitDestination, reset},
	} {
		for _, lazy := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tc.cfg.LazyHandshake = lazy
					r := newSYNRig(t, tc.cfg)
					r.listen()
					for i := range tc.n {
						r.table.HandleSYN(syn(from("10.0.0.1", i), server, 1))
					}
					synctest.Wait()
					r.held(tc.n, tc.n, tc.n)
					if r.drops.Total() != 0 {
						t.Fatalf("dropped %v", r.drops.Snapshot())
					}
					p := syn(from("10.0.0.1", tc.n), server, 1)
					if !r.table.HandleSYN(p) {
						t.Error("not handled")
					}
					r.counted(tc.cause, 1)
					r.held(tc.n, tc.n, tc.n)
					if got := r.answerSent(p); got != tc.how {
						t.Errorf("answer %d, want %d", got, tc.how)
					}
					r.table.Close(flow.Shutdown)
					r.held(0, 0, 0)
				})
			})
		}
	}
}

func TestSourceKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{MaxHandshakesPerSource: 1}, func(c *TableConfig) {
			c.SourceKey = func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 24).Masked() }
		})
		r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		r.table.HandleSYN(syn(clientB, server, 1))
		r.counted(drop.SYNLimitSource, 1)
		r.table.Close(flow.Shutdown)
	})
}

// TestFlood sends SYNs that nobody completes, from one source to one and to many
// destinations; another source connects at its first SYN, to each of these.
func TestFlood(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newSYNRig(t, Config{LazyHandshake: lazy}).establishing()
			a := r.listen()
			good := netip.MustParseAddr("10.0.0.2")
			r.engine.reply = func(ctx context.Context, syn *netstack.SYN) (*netstack.Endpoint, error) {
				if syn.Source.Addr() == good {
					return nil, nil
				}
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			sent := uint64(0)
			for i := range 5000 {
				dst := server
				if i%2 == 1 {
					dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(2 + i>>8), byte(i)}), 443)
				}
				r.table.HandleSYN(syn(from("10.0.0.1", i), dst, uint32(i)))
				sent++
			}
			synctest.Wait()
			held := r.table.Stats().Handshakes.Held
			if refused := r.drops.Total(); refused+uint64(held) != sent {
				t.Errorf("%d sent, %d held, %d counted: %v", sent, held, refused, r.drops.Snapshot())
			}
			for i, dst := range []netip.AddrPort{server, netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("203.0.113.9:22")} {
				p := syn(netip.AddrPortFrom(good, uint16(5000+i)), dst, 1)
				r.table.HandleSYN(p)
				if lazy {
					continue
				}
				s, err := a.AcceptStream(t.Context())
				if err != nil || s.Source() != p.SrcAddrPort() || s.Destination() != dst {
					t.Fatalf("accepted %v, %v", s, err)
				}
			}
			if lazy { // those of the flood come first
				for found := 0; found < 3; {
					s, err := a.AcceptStream(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if s.Source().Addr() == good {
						found++
					}
				}
			}
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if lazy {
				r.held(0, 0, 0)
				r.counted(drop.DecideTimeout, uint64(held)+3)
			} else {
				r.held(0, 3, 0)
				r.counted(drop.HandshakeTimeout, uint64(held))
			}
			for f := range r.flows.All() {
				f.Kill(nil)
			}
			r.held(0, 0, 0)
			r.table.Close(flow.Shutdown)
		})
	}
}

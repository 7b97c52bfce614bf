package forward

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"l3extract/adapters/outbound"
	"l3extract/stack"
	"l3extract/udp"
)

// TestOutboundsOfOneSocket: a client's socket whose destinations go by several outbounds
// has one upstream socket by each, and one for each IP version.
func TestOutboundsOfOneSocket(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		a, b := new(relayServer), new(relayServer)
		server, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		var asked atomic.Int64
		r := newRig(t, routes{
			"198.51.100.1:1": {PacketListener: a},
			"198.51.100.2:2": {PacketListener: b},
			"198.51.100.3:3": {PacketListener: a, Addr: netip.MustParseAddrPort("198.51.100.33:33")},
			"198.51.100.4:4": {Addr: server.LocalAddr().(*net.UDPAddr).AddrPort(), Trusted: true},
		}.server(atOnce, &asked), stack.Config{})
		k := r.talker(t, "10.9.0.2:4000")
		for range 3 {
			k.say("to a", "198.51.100.1:1")
			a.conn(t, 0).got(t, "to a", "198.51.100.1:1")
			k.say("to b", "198.51.100.2:2")
			b.conn(t, 0).got(t, "to b", "198.51.100.2:2")
			k.say("to a again", "198.51.100.3:3")
			a.conn(t, 0).got(t, "to a again", "198.51.100.33:33")
			k.say("direct", "198.51.100.4:4")
			buf := make([]byte, 100)
			n, from, err := server.ReadFrom(buf)
			if err != nil || string(buf[:n]) != "direct" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
			_, _ = server.WriteTo([]byte("answer"), from)
			k.got("answer", "198.51.100.4:4")
			a.conn(t, 0).say("from a", "198.51.100.1:1")
			k.got("from a", "198.51.100.1:1")
			a.conn(t, 0).say("from a, renamed", "198.51.100.33:33")
			k.got("from a, renamed", "198.51.100.3:3")
			b.conn(t, 0).say("from a stranger", "203.0.113.5:5")
			k.got("from a stranger", "203.0.113.5:5")
		}
		if a.opened() != 1 || b.opened() != 1 || a.conn(t, 0).network != "udp4" {
			t.Errorf("%d and %d sockets were opened", a.opened(), b.opened())
		}
		if f := a.flows[0]; f.Network != "udp" || f.Destination.String() != "198.51.100.1:1" || f.Source.String() != "10.9.0.2:4000" {
			t.Errorf("the outbound was told %+v", f)
		}
		if asked.Load() != 4 {
			t.Errorf("Route was asked %d times for 4 destinations", asked.Load())
		}
		// They are counted once they are sent: the answer may be faster.
		wait(t, "12 datagrams each way on one socket", func() bool {
			got := r.fwd.Stats()
			return got.Sockets == 1 && got.DatagramsOut == 12 && got.DatagramsIn == 12
		})
	})
}

// TestHandler: what a Handler answers comes from where it was asked, also later and from
// other goroutines, and costs neither a socket nor a goroutine.
func TestHandler(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		h := &echoHandler{later: make(chan func([]byte), 100)}
		r := newRig(t, routes{"198.51.100.1:53": {Handler: h}, "198.51.100.2:53": {Handler: h}}.server(atOnce, nil), stack.Config{})
		r.talker(t, "10.9.0.2:3999").ask("warm up", "198.51.100.1:53")
		before := runtime.NumGoroutine()
		var all []*talker
		for i := range 50 {
			k := r.talker(t, fmt.Sprintf("10.9.0.2:%d", 4000+i))
			all = append(all, k)
			k.ask("one", "198.51.100.1:53")
			k.ask("two", "198.51.100.2:53")
			k.ask("three", "198.51.100.1:53")
		}
		if polled {
			// None for each of the fifty; a few others come and go.
			wait(t, "goroutines to end", func() bool { return runtime.NumGoroutine() < before+10 })
		}
		k := all[0]
		k.say("later", "198.51.100.2:53")
		reply := <-h.later
		var done sync.WaitGroup
		for range 2 {
			done.Go(func() { reply([]byte("at last")) })
		}
		done.Wait()
		k.got("at last", "198.51.100.2:53")
		k.got("at last", "198.51.100.2:53")
		wait(t, "the datagrams to be counted", func() bool {
			st := r.fwd.Stats()
			return st.DatagramsOut == 152 && st.DatagramsIn == 153 && st.DatagramsLost == 0
		})
		for f := range r.server.Flows() {
			r.server.Kill(f.ID, stack.Killed)
		}
		wait(t, "the sockets to go", func() bool { return r.fwd.Stats().Sockets == 0 })
		reply([]byte("too late"))
		if st := r.fwd.Stats(); st.DatagramsLost != 1 {
			t.Errorf("%+v", st)
		}
	})
}

type echoHandler struct{ later chan func([]byte) }

func (h *echoHandler) HandlePacket(f outbound.Flow, p []byte, reply func([]byte)) {
	if string(p) == "later" {
		h.later <- reply
		return
	}
	reply(append([]byte(f.Destination.String()+" "), p...))
}

// ask expects what an echoHandler answers.
func (k *talker) ask(b, to string) {
	k.t.Helper()
	k.say(b, to)
	k.got(to+" "+b, to)
}

// TestUpstreamEnds: a Socket whose association ends does too, with that cause, and the
// client's next datagram opens another.
func TestUpstreamEnds(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		p := new(relayServer)
		r := newRig(t, routes{"198.51.100.1:1": {PacketListener: p}}.server(atOnce, nil), stack.Config{})
		k := r.talker(t, "10.9.0.2:4000")
		k.say("one", "198.51.100.1:1")
		p.conn(t, 0).got(t, "one", "198.51.100.1:1")
		p.conn(t, 0).in <- packetFrom{err: fmt.Errorf("it has gone: %w", outbound.ErrProxy)}
		r.wantCause("udp", stack.ResetByUpstream)
		wait(t, "the socket to go", func() bool { return r.fwd.Stats().Sockets == 0 })
		k.say("two", "198.51.100.1:1")
		p.conn(t, 1).got(t, "two", "198.51.100.1:1")
	})
}

// TestOneUpstreamEnds: a Socket with several upstream sockets lives as long as one of them,
// and what went by another gets a new one.
func TestOneUpstreamEnds(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		a, b := new(relayServer), new(relayServer)
		r := newRig(t, routes{"198.51.100.1:1": {PacketListener: a}, "198.51.100.2:2": {PacketListener: b}}.server(atOnce, nil), stack.Config{})
		k := r.talker(t, "10.9.0.2:4000")
		k.say("to a", "198.51.100.1:1")
		a.conn(t, 0).got(t, "to a", "198.51.100.1:1")
		k.say("to b", "198.51.100.2:2")
		b.conn(t, 0).got(t, "to b", "198.51.100.2:2")
		ends := packetFrom{err: fmt.Errorf("it has gone: %w", outbound.ErrProxy)}
		a.conn(t, 0).in <- ends
		b.conn(t, 0).say("from b", "198.51.100.2:2")
		k.got("from b", "198.51.100.2:2")
		k.say("to b", "198.51.100.2:2")
		b.conn(t, 0).got(t, "to b", "198.51.100.2:2")
		wait(t, "the end of one to be noted", func() bool { return r.work.all()[0].(*socket).living.Load() == 1 })
		k.say("again", "198.51.100.1:1")
		a.conn(t, 1).got(t, "again", "198.51.100.1:1")
		if n := r.fwd.Stats().Sockets; n != 1 {
			t.Errorf("%d sockets", n)
		}
		b.conn(t, 0).in <- ends
		a.conn(t, 1).in <- ends
		r.wantCause("udp", stack.ResetByUpstream)
	})
}

// TestFromNowhere: what comes from no address that a packet can have is refused by the
// Policy, also where the stack could fill one in, and as the first that comes.
func TestFromNowhere(t *testing.T) {
	p := new(relayServer)
	r := newRig(t, routes{"198.51.100.1:1": {PacketListener: p}}.server(true, nil), stack.Config{UDP: udp.Config{Mapping: udp.PerFlow}})
	k := r.talker(t, "10.9.0.2:4000")
	k.say("hello", "198.51.100.1:1")
	p.conn(t, 0).got(t, "hello", "198.51.100.1:1")
	for _, nowhere := range []net.Addr{nil, &net.UnixAddr{Name: "x"}, outbound.Name{Host: "example.com", Port: 2}} {
		p.conn(t, 0).in <- packetFrom{b: "forged", addr: nowhere}
	}
	p.conn(t, 0).say("true", "198.51.100.1:1")
	k.got("true", "198.51.100.1:1")
	if st := r.fwd.Stats(); st.PolicyDatagrams != 3 {
		t.Errorf("%d datagrams from nowhere were refused, want 3", st.PolicyDatagrams)
	}
}

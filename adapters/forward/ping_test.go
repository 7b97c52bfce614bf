package forward

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/icmp"
	"l3extract/internal/packet"
	"l3extract/stack"
)

// prober sends pings from the client and reads what comes back.
type prober struct {
	t  *testing.T
	pc net.PacketConn
	v6 bool
}

func (r *rig) prober(t *testing.T, v6 bool) *prober {
	t.Helper()
	network := "ip4:icmp"
	if v6 {
		network = "ip6:ipv6-icmp"
	}
	pc, err := r.client.ListenPacket(soon(t), network, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return &prober{t, pc, v6}
}

func (p *prober) ping(to string, seq uint16, payload string) {
	p.t.Helper()
	msg := append(make([]byte, packet.EchoLen), payload...)
	typ := packet.EchoRequest4
	if p.v6 {
		typ = packet.EchoRequest6
	}
	packet.PutEcho(msg, typ, 0x4321, seq)
	if _, err := p.pc.WriteTo(msg, &net.IPAddr{IP: net.ParseIP(to)}); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next ICMP message and who sent it.
func (p *prober) next() (msg []byte, from string) {
	p.t.Helper()
	_ = p.pc.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1500)
	n, a, err := p.pc.ReadFrom(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return b[:n], a.String()
}

// wantPong expects the answer to ping.
func (p *prober) wantPong(from string, seq uint16, payload string) {
	p.t.Helper()
	msg, who := p.next()
	id, got, reply, ok := packet.ReadEcho(msg, p.v6)
	if !ok || !reply || id != 0x4321 || got != seq || string(msg[packet.EchoLen:]) != payload || who != from {
		p.t.Errorf("got %x from %s, want a pong from %s", msg, who, from)
	}
}

// wantError expects an error of that type and code.
func (p *prober) wantError(from string, typ, code uint8) {
	p.t.Helper()
	if msg, who := p.next(); msg[0] != typ || msg[1] != code || who != from {
		p.t.Errorf("got %x from %s, want type %d code %d from %s", msg[:8], who, typ, code, from)
	}
}

// needPings skips where this process may not ping.
func needPings(t *testing.T) {
	t.Helper()
	pc, err := new(direct.Dialer).ListenPing(context.Background(), "ip4:icmp")
	if err != nil {
		t.Skipf("no pings here: %v", err)
	}
	_ = pc.Close()
}

func pingListenFunc(f func(network string) (net.PacketConn, error)) PingListener {
	return pingListener(f)
}

type pingListener func(network string) (net.PacketConn, error)

func (f pingListener) ListenPing(_ context.Context, network string) (net.PacketConn, error) {
	return f(network)
}

// TestPing: a ping reaches its target, and the answer has the client's identifier,
// number and payload and comes from the address that was pinged.
func TestPing(t *testing.T) {
	needPings(t)
	r := newRig(t, &Server{}, stack.Config{})
	for _, tc := range []struct {
		v6         bool
		name, real string
	}{
		{false, "198.51.100.7", "127.0.0.1"}, {true, "2001:db8::7", "::1"},
	} {
		real := netip.AddrPortFrom(netip.MustParseAddr(tc.real), 0)
		r.front(netip.AddrPortFrom(netip.MustParseAddr(tc.name), 0).String(), net.UDPAddrFromAddrPort(real))
		p := r.prober(t, tc.v6)
		p.ping(tc.name, 7, "payload")
		p.wantPong(tc.name, 7, "payload")
		p.ping(tc.name, 7, "") // the same number again, and nothing in it
		p.wantPong(tc.name, 7, "")
	}
	// They are counted once they are sent: the answer may be faster.
	wait(t, "4 pings and pongs", func() bool { return r.fwd.Stats().Pings == 4 && r.fwd.Stats().Pongs == 4 })
	if st := r.fwd.Stats(); st.PingsLate+st.PingsLost+st.PingErrors != 0 {
		t.Errorf("%+v", st)
	}
	wait(t, "all places to be free", func() bool { return r.work.pings.places.Stats().Held == 0 })
}

// TestPingPolicy: what may not be dialled may not be pinged, and the stack says so.
func TestPingPolicy(t *testing.T) {
	r := newRig(t, &Server{Policy: Policy{DenyPrivate: true}}, stack.Config{})
	four, six := r.prober(t, false), r.prober(t, true)
	for _, to := range []string{"169.254.169.254", "192.168.1.1"} {
		four.ping(to, 1, "x")
		four.wantError("10.9.0.1", 3, 13)
	}
	for _, to := range []string{"fe80::1", "64:ff9b::a9fe:a9fe", "fd12::1"} {
		six.ping(to, 1, "x")
		six.wantError("fd99::1", 1, 1)
	}
	if st := r.fwd.Stats(); st.PolicyPings != 5 || st.Pings != 0 {
		t.Errorf("%+v", st)
	}
}

// lockedBuffer is what a logger of several goroutines may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.FieldsFunc(b.b.String(), func(r rune) bool { return r == '\n' })
}

// TestPingNotPermitted: one line says so, and then nobody answers, as by EchoOff.
func TestPingNotPermitted(t *testing.T) {
	for _, denied := range []error{syscall.EACCES, errors.ErrUnsupported} {
		log, opened := new(lockedBuffer), 0
		srv := &Server{
			Logger: slog.New(slog.NewTextHandler(log, nil)),
			PingListener: pingListenFunc(func(network string) (net.PacketConn, error) {
				opened++
				return nil, &net.OpError{Op: "listen", Net: network, Err: denied}
			}),
		}
		r := newRig(t, srv, stack.Config{})
		p := r.prober(t, false)
		p.ping("198.51.100.7", 1, "x")
		wait(t, "the line", func() bool { return len(log.lines()) == 1 })
		r.prober(t, true).ping("2001:db8::7", 1, "x")
		p.ping("198.51.100.7", 2, "x")
		wait(t, "pings to be counted", func() bool { return r.server.Stats().Drops["echo_off"]+r.fwd.Stats().PingsLost >= 3 })
		p.ping("10.9.0.1", 3, "own") // answered by the stack, and behind all others
		p.wantPong("10.9.0.1", 3, "own")
		if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "pings to other hosts are not answered") || opened != 1 {
			t.Errorf("%v: %d times asked, said %q", denied, opened, lines)
		}
		if st := r.fwd.Stats(); st.Pings != 0 || st.Pongs != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestPingWithoutIPv6: a host without IPv6 has no way to anyone there.
func TestPingWithoutIPv6(t *testing.T) {
	r := newRig(t, &Server{PingListener: pingListenFunc(func(string) (net.PacketConn, error) { return nil, syscall.EAFNOSUPPORT })}, stack.Config{})
	p := r.prober(t, true)
	for range 2 {
		p.ping("2001:db8::7", 1, "x")
		p.wantError("fd99::1", 1, 0)
	}
}

// TestPingSocketLater: what may pass does not turn pings off for good, and is not asked
// about at every ping.
func TestPingSocketLater(t *testing.T) {
	needPings(t)
	for _, tc := range []struct {
		errs  []error // of the first sockets
		told  bool    // the client is
		every bool    // no wait between
		asked int     // in the end
	}{
		{[]error{syscall.EMFILE, syscall.ENOBUFS}, false, true, 3},
		{[]error{syscall.EADDRNOTAVAIL}, true, true, 2},
		{[]error{syscall.EMFILE, syscall.ENOBUFS}, false, false, 1},
		{[]error{syscall.EMFILE, syscall.EACCES}, false, true, 2},
		{[]error{syscall.EAFNOSUPPORT}, true, true, 1},
	} {
		asked := 0
		r := newIdleRig(t, &Server{PingListener: pingListenFunc(func(network string) (net.PacketConn, error) {
			if asked++; asked <= len(tc.errs) {
				return nil, &net.OpError{Op: "listen", Net: network, Err: tc.errs[asked-1]}
			}
			return new(direct.Dialer).ListenPing(context.Background(), network)
		})}, stack.Config{})
		if tc.every {
			r.work.pings.retry = 0
		}
		cancel, served := r.serve()
		r.front("198.51.100.7:0", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		p := r.prober(t, false)
		works := tc.asked > len(tc.errs)
		for i := range 4 {
			p.ping("198.51.100.7", uint16(i), "x")
			switch {
			case works && i >= len(tc.errs):
				p.wantPong("198.51.100.7", uint16(i), "x")
			case tc.told:
				p.wantError("10.9.0.1", 3, 0)
			default:
				wait(t, "the ping to be lost", func() bool {
					return r.fwd.Stats().PingsLost+r.server.Stats().Drops["echo_off"] == uint64(i+1)
				})
			}
		}
		cancel(nil)
		<-served // all is done, so asked may be read
		if asked != tc.asked {
			t.Errorf("%v: asked %d times, want %d", tc.errs, asked, tc.asked)
		}
	}
}

// TestPingRoute: an error of Route is the client's, and names are not for pings.
func TestPingRoute(t *testing.T) {
	var target Target
	var fail error
	srv := &Server{Route: func(_ context.Context, f outbound.Flow) (Target, error) {
		if f.Network != "icmp" || f.Source != netip.MustParseAddrPort("10.9.0.2:0") || f.Destination != netip.MustParseAddrPort("198.51.100.7:0") {
			t.Errorf("asked for %v", f)
		}
		return target, fail
	}}
	r := newRig(t, srv, stack.Config{})
	p := r.prober(t, false)
	fail = syscall.ENETUNREACH
	p.ping("198.51.100.7", 1, "x")
	p.wantError("10.9.0.1", 3, 0)
	target, fail = Target{Host: "name.invalid"}, nil
	p.ping("198.51.100.7", 1, "x")
	p.wantError("10.9.0.1", 3, 1)
}

// TestPingOutbounds: outbounds come and go, and pings by new ones are answered; the
// sockets of old ones are closed.
func TestPingOutbounds(t *testing.T) {
	needPings(t)
	type way struct{ direct.Dialer }
	var target Target
	r := newRig(t, &Server{RouteNeverWaits: true, Route: func(context.Context, outbound.Flow) (Target, error) {
		return target, nil
	}}, stack.Config{})
	p := r.prober(t, false)
	for i := range 2*maxPingOutlets + 1 {
		target = Target{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Trusted: true, Dialer: new(way)}
		p.ping("198.51.100.7", uint16(i), "x")
		p.wantPong("198.51.100.7", uint16(i), "x")
	}
	if n := len(r.work.pings.sockets); n != maxPingOutlets { // nothing is on its way
		t.Errorf("%d sockets, want %d", n, maxPingOutlets)
	}
}

// TestFlights: each ping has a number of its own, an answer finds it once, from its
// target only, and what is not answered in time is given up, oldest first.
func TestFlights(t *testing.T) {
	r := newIdleRig(t, &Server{PingTimeout: time.Minute, MaxPings: 1 << 20, MaxPingsPerSource: -1}, stack.Config{})
	p := r.work.pings
	target := netip.MustParseAddr("198.51.100.7")
	echo := &icmp.Echo{Source: netip.MustParseAddr("192.0.2.1"), Destination: target}
	launch := func() flightID {
		if v := p.places.Acquire(echo.Source, netip.AddrPort{}); v != 0 {
			t.Fatalf("no place: %v", v)
		}
		return p.launch(echo, target)
	}
	first := launch()
	seen := map[flightID]bool{first: true}
	for range 1000 {
		id := launch()
		if seen[id] {
			t.Fatalf("number %d given twice", id.seq)
		}
		seen[id] = true
	}
	if p.land(flightID{true, first.seq}, target) != nil || p.land(first, target.Next()) != nil {
		t.Error("landed by somebody else's answer")
	}
	if p.land(first, target) != echo || p.land(first, target) != nil {
		t.Error("landed not once")
	}
	// The numbers go round, past those in flight.
	p.last = 1<<16 - 3
	for range 10 {
		if id := launch(); seen[id] && id != first {
			t.Fatalf("number %d given twice", id.seq)
		}
	}
	now := time.Now()
	if wait := p.expire(now); wait <= 0 || wait > time.Minute {
		t.Errorf("the next look is in %v", wait)
	}
	if wait := p.expire(now.Add(2 * time.Minute)); wait != 0 || len(p.flights) != 0 || p.byAge.Len() != 0 {
		t.Errorf("after their time: look in %v, %d in flight", wait, len(p.flights))
	}
	if late, held := r.fwd.Stats().PingsLate, p.places.Stats().Held; late != 1010 || held != 0 {
		t.Errorf("%d late, %d places held", late, held)
	}
	// There are fewer places than numbers, whatever is configured.
	other := netip.MustParseAddr("192.0.2.2")
	n := 0
	for ; p.places.Acquire(other, netip.AddrPort{}) == 0; n++ {
	}
	if n > maxFlights {
		t.Errorf("%d places", n)
	}
}

// TestFlightsAreShort: what waits for an answer keeps no more of its payload than an
// error quotes, and the answer has all of it.
func TestFlightsAreShort(t *testing.T) {
	r := newIdleRig(t, &Server{}, stack.Config{})
	p := r.work.pings
	target := netip.MustParseAddr("198.51.100.7")
	for _, size := range []int{0, maxQuote, maxQuote + 1, 60_000} {
		echo := &icmp.Echo{Source: netip.MustParseAddr("192.0.2.1"), Destination: target, Payload: make([]byte, size)}
		if v := p.places.Acquire(echo.Source, netip.AddrPort{}); v != 0 {
			t.Fatalf("no place: %v", v)
		}
		id := p.launch(echo, target)
		p.shorten(id)
		if n := cap(echo.Payload); n > 2*maxQuote || len(echo.Payload) != min(size, maxQuote) {
			t.Errorf("%d bytes: %d are kept, in %d", size, len(echo.Payload), n)
		}
		p.land(id, target)
		p.shorten(id)
	}
	needPings(t)
	r.serve()
	r.front("198.51.100.7:0", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	long := strings.Repeat("payload ", 170)
	q := r.prober(t, false)
	q.ping("198.51.100.7", 3, long)
	q.wantPong("198.51.100.7", 3, long)
}

// TestPingsPerSource: who has as many pings in flight as it may is not served.
func TestPingsPerSource(t *testing.T) {
	needPings(t)
	r := newRig(t, &Server{MaxPingsPerSource: 2}, stack.Config{})
	for range 2 { // as if on their way
		r.work.pings.places.Acquire(netip.MustParseAddr("10.9.0.2"), netip.AddrPort{})
	}
	p := r.prober(t, false)
	p.ping("198.51.100.7", 1, "x")
	wait(t, "the ping to be counted", func() bool { return r.fwd.Stats().PingsOver == 1 })
	for range 2 {
		r.work.pings.places.Release(netip.MustParseAddr("10.9.0.2"), netip.AddrPort{})
	}
	r.front("198.51.100.7:0", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	p.ping("198.51.100.7", 2, "x")
	p.wantPong("198.51.100.7", 2, "x")
}

// TestAsSeen: how a client sees an error about what it knows under another name.
func TestAsSeen(t *testing.T) {
	a := netip.MustParseAddr
	for _, tc := range []struct {
		f            packet.Fault
		target, name string
		want         packet.Fault
	}{
		{packet.Fault{From: a("10.0.0.1")}, "198.51.100.7", "198.51.100.7", packet.Fault{From: a("10.0.0.1")}},
		{packet.Fault{From: a("127.0.0.1")}, "127.0.0.1", "198.51.100.7", packet.Fault{From: a("198.51.100.7")}},
		{packet.Fault{From: a("10.0.0.1"), MTU: 1300}, "198.51.100.7", "2001:db8::7", packet.Fault{From: a("2001:db8::7"), MTU: 1320}},
		{packet.Fault{From: a("fd00::1"), MTU: 1300}, "2001:db8::7", "198.51.100.7", packet.Fault{From: a("198.51.100.7"), MTU: 1280}},
	} {
		if got := asSeen(tc.f, a(tc.target), a(tc.name)); got != tc.want {
			t.Errorf("%+v of %s, called %s: %+v, want %+v", tc.f, tc.target, tc.name, got, tc.want)
		}
	}
}

package udp

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// wire is an Output that keeps what it is given, or hands it on.
type wire struct {
	mu     sync.Mutex
	full   bool // takes nothing
	pkts   [][]byte
	onward func(b []byte) // instead of keeping
}

func (w *wire) WriteControl(b []byte) bool  { return w.write(b) }
func (w *wire) WriteDatagram(b []byte) bool { return w.write(b) }

func (w *wire) write(b []byte) bool {
	w.mu.Lock()
	full, onward := w.full, w.onward
	if !full && onward == nil {
		w.pkts = append(w.pkts, bytes.Clone(b))
	}
	w.mu.Unlock()
	if onward != nil && !full {
		onward(bytes.Clone(b))
	}
	return !full
}

// take returns the packets kept so far and forgets them.
func (w *wire) take() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	pkts := w.pkts
	w.pkts = nil
	return pkts
}

// family is the same test over IPv4 or IPv6.
type family struct {
	name                string
	own                 netip.Addr
	client, other       netip.AddrPort // other: same address as client, another port
	stranger            netip.AddrPort
	server, server2     netip.AddrPort // server2: same address as server, another port
	far                 netip.AddrPort // another address
	multicast, loopback netip.Addr
}

var families = []family{
	{
		"v4", netip.MustParseAddr("10.0.0.1"),
		ap("10.0.0.2:5000"), ap("10.0.0.2:5001"), ap("10.0.0.3:5000"),
		ap("192.0.2.1:7000"), ap("192.0.2.1:7001"), ap("198.51.100.1:7000"),
		netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("127.0.0.1"),
	},
	{
		"v6", netip.MustParseAddr("fd00::1"),
		ap("[fd00::2]:5000"), ap("[fd00::2]:5001"), ap("[fd00:0:0:1::3]:5000"),
		ap("[2001:db8::1]:7000"), ap("[2001:db8::1]:7001"), ap("[2001:db8:1::1]:7000"),
		netip.MustParseAddr("ff02::fb"), netip.MustParseAddr("::1"),
	},
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func eachFamily(t *testing.T, f func(t *testing.T, fam family)) {
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) { f(t, fam) })
	}
}

// rig is a table with everything around it.
type rig struct {
	*Table
	t     testing.TB
	out   *wire
	drops *drop.Counters
	flows *flow.Registry
	bud   *budget.Budget
}

func newRig(t testing.TB, cfg Config, change ...func(*Env)) *rig {
	t.Helper()
	r := &rig{t: t, out: &wire{}, drops: &drop.Counters{}, bud: budget.New(0)}
	r.flows = flow.NewRegistry(flow.Trace{})
	env := Env{
		Out: r.out, Flows: r.flows, Drops: r.drops, MTU: 1500, Budget: r.bud,
		Addrs: []netip.Addr{families[0].own, families[1].own},
	}
	for _, f := range change {
		f(&env)
	}
	r.flows = env.Flows
	table, err := NewTable(&cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	r.Table = table
	r.Acceptor().Sockets() // somebody has asked
	t.Cleanup(func() {
		r.Close(nil)
		if n := r.flows.Len(); n != 0 {
			t.Errorf("%d flows left after Close", n)
		}
		if s := r.Stats(); s.Sockets+s.Own+s.Sources+s.Waiting != 0 || s.QueuedBytes != 0 {
			t.Errorf("left after Close: %+v", s)
		}
		if used := r.bud.Snapshot().Used; used != 0 {
			t.Errorf("%d bytes of the budget left after Close", used)
		}
	})
	return r
}

// dial is Dial with the type that it returns.
func (r *rig) dial(local, remote netip.AddrPort) (*Conn, error) {
	c, err := r.Dial(local, remote)
	if err != nil {
		return nil, err
	}
	return c.(*Conn), nil
}

func datagramPacket(src, dst netip.AddrPort, payload string) []byte {
	return packet.AppendUDP(nil, src, dst, 64, 0, []byte(payload))
}

// receive plays a datagram that comes from behind the conn.
func (r *rig) receive(src, dst netip.AddrPort, payload string) {
	r.t.Helper()
	r.handle(datagramPacket(src, dst, payload))
}

// handle plays a packet that comes from behind the conn.
func (r *rig) handle(b []byte) {
	r.t.Helper()
	var p packet.Packet
	if c := p.Decode(b); c != drop.None {
		r.t.Errorf("packet does not decode: %v", c)
		return
	}
	if p.Proto == packet.UDP {
		r.HandlePacket(&p)
	} else if e, ok := packet.ParseICMPError(&p); ok {
		r.HandleError(e)
	}
}

// accept returns the next Socket, which must be there.
func (r *rig) accept() *Socket {
	r.t.Helper()
	select {
	case s := <-r.Acceptor().Sockets():
		return s
	default:
		r.t.Fatal("no Socket to accept")
		return nil
	}
}

// opened receives a datagram and returns the Socket that it opens, the datagram
// still unread.
func (r *rig) opened(src, dst netip.AddrPort) *Socket {
	r.t.Helper()
	r.receive(src, dst, "first")
	return r.accept()
}

// sent returns the one packet that has gone out since the last call.
func (r *rig) sent() *packet.Packet {
	r.t.Helper()
	pkts := r.out.take()
	if len(pkts) != 1 {
		r.t.Fatalf("%d packets sent, want 1", len(pkts))
	}
	p := new(packet.Packet)
	if c := p.Decode(pkts[0]); c != drop.None || !p.ChecksumOK() {
		r.t.Fatalf("sent a bad packet: %v, checksum %v", c, p.ChecksumOK())
	}
	return p
}

func (r *rig) wantSent(from, to netip.AddrPort, payload string) {
	r.t.Helper()
	p := r.sent()
	if p.SrcAddrPort() != from || p.DstAddrPort() != to || string(p.Payload) != payload {
		r.t.Errorf("sent %v -> %v %q, want %v -> %v %q",
			p.SrcAddrPort(), p.DstAddrPort(), p.Payload, from, to, payload)
	}
}

func (r *rig) wantDrops(c drop.Cause, want uint64) {
	r.t.Helper()
	if got := r.drops.Load(c); got != want {
		r.t.Errorf("%v = %d, want %d", c, got, want)
	}
}

// pair is two tables that are each other's network: a client and a server side.
// Packets are delivered on the writer's goroutine.
func pair(t testing.TB, client, server Config) (c, s *rig) {
	clientAddrs := func(e *Env) {
		e.Addrs = []netip.Addr{families[0].client.Addr(), families[1].client.Addr()}
	}
	c, s = newRig(t, client, clientAddrs), newRig(t, server)
	c.out.onward, s.out.onward = s.handle, c.handle
	return c, s
}

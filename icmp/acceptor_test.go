package icmp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

var (
	client4, server4 = netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("198.51.100.7")
	client6, server6 = netip.MustParseAddr("2001:db8:1::9"), netip.MustParseAddr("2001:db8::7")
	own4, own6       = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
)

// rig is an Acceptor with what it counts and sends.
type rig struct {
	*Acceptor
	t     *testing.T
	drops drop.Counters
	sent  [][]byte
	now   time.Time
	deny  bool // no error may be sent
}

func newRig(t *testing.T, change ...func(*Env)) *rig {
	r := &rig{t: t, now: time.Unix(1000, 0)}
	env := Env{
		Out: r, Drops: &r.drops, Now: func() time.Time { return r.now },
		AllowError: func(netip.Addr) bool { return !r.deny },
	}
	for _, f := range change {
		f(&env)
	}
	r.Acceptor = NewAcceptor(env)
	r.Open()
	return r
}

func (r *rig) WriteControl(b []byte) bool {
	r.sent = append(r.sent, append([]byte(nil), b...))
	return true
}

// ping hands an echo request in.
func (r *rig) ping(src, dst netip.Addr, payload string) {
	r.t.Helper()
	b := packet.AppendEcho(nil, packet.EchoHeader{Src: src, Dst: dst, ID: 1, Seq: 2, FragID: 3, TTL: 9, TOS: 4}, []byte(payload))
	var p packet.Packet
	if c := p.Decode(b); c != drop.None {
		r.t.Fatal(c)
	}
	r.HandlePacket(&p)
	clear(b) // the reader's buffer is used again
}

// accept returns an echo from src.
func (r *rig) accept(src, dst netip.Addr, payload string) *Echo {
	r.t.Helper()
	r.ping(src, dst, payload)
	e, err := r.AcceptEcho(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// take returns the one packet sent.
func (r *rig) take() *packet.Packet {
	r.t.Helper()
	if len(r.sent) != 1 {
		r.t.Fatalf("%d packets sent, want one", len(r.sent))
	}
	p := new(packet.Packet)
	if c := p.Decode(r.sent[0]); c != drop.None || !p.ChecksumOK() {
		r.t.Fatalf("sent %x: %v", r.sent[0], c)
	}
	r.sent = nil
	return p
}

// TestErrors: what a client is told of an error, and by whom.
func TestErrors(t *testing.T) {
	router4, router6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:2::1")
	withOwn := func(e *Env) {
		e.Source = func(client netip.Addr) netip.Addr {
			if client.Is4() {
				return own4
			}
			return own6
		}
	}
	for _, tc := range []struct {
		name string
		own  bool
		send func(e *Echo) error
		kind Kind // 0: none
		from [2]netip.Addr
		mtu  int
	}{
		{"net", true, func(e *Echo) error { return e.Unreachable(syscall.ENETUNREACH) }, NetUnreachable, [2]netip.Addr{own4, own6}, 0},
		{"host", true, func(e *Echo) error { return e.Unreachable(syscall.EHOSTUNREACH) }, HostUnreachable, [2]netip.Addr{own4, own6}, 0},
		{"policy", true, func(e *Echo) error { return e.Unreachable(flow.Policy) }, AdminProhibited, [2]netip.Addr{own4, own6}, 0},
		{"any", true, func(e *Echo) error { return e.Unreachable(errors.New("any")) }, HostUnreachable, [2]netip.Addr{own4, own6}, 0},
		{"nil", true, func(e *Echo) error { return e.Unreachable(nil) }, HostUnreachable, [2]netip.Addr{own4, own6}, 0},
		{"no own address", false, func(e *Echo) error { return e.Unreachable(syscall.EPERM) }, AdminProhibited, [2]netip.Addr{server4, server6}, 0},
		{"timeout", true, func(e *Echo) error { return e.Unreachable(context.DeadlineExceeded) }, 0, [2]netip.Addr{}, 0},
		{"timed out", true, func(e *Echo) error { return e.Unreachable(flow.TimedOut) }, 0, [2]netip.Addr{}, 0},
		{"expired here", true, func(e *Echo) error { return e.TimeExceeded(netip.Addr{}) }, TimeExceeded, [2]netip.Addr{own4, own6}, 0},
		{"expired there", true, func(e *Echo) error {
			if e.Source.Is4() {
				return e.TimeExceeded(router4)
			}
			return e.TimeExceeded(router6)
		}, TimeExceeded, [2]netip.Addr{router4, router6}, 0},
		{"of the other version", true, func(e *Echo) error {
			if e.Source.Is4() {
				return e.TimeExceeded(router6)
			}
			return e.TimeExceeded(router4)
		}, TimeExceeded, [2]netip.Addr{own4, own6}, 0},
		{"loopback", true, func(e *Echo) error { return e.TimeExceeded(netip.IPv6Loopback()) }, TimeExceeded, [2]netip.Addr{own4, own6}, 0},
		{"too big", true, func(e *Echo) error { return e.Report(&Error{Kind: TooBig, MTU: 1300}) }, TooBig, [2]netip.Addr{own4, own6}, 1300},
	} {
		for i, ends := range [][2]netip.Addr{{client4, server4}, {client6, server6}} {
			r := newRig(t)
			if tc.own {
				r = newRig(t, withOwn)
			}
			e := r.accept(ends[0], ends[1], "payload")
			if err := tc.send(e); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			if tc.kind == 0 {
				if len(r.sent) != 0 {
					t.Errorf("%s: told of", tc.name)
				}
				continue
			}
			p := r.take()
			q, ok := packet.ParseICMPError(p)
			if !ok || q.Kind != tc.kind || q.MTU != tc.mtu || p.Src != tc.from[i] || p.Dst != ends[0] || q.Dst.Addr() != ends[1] {
				t.Errorf("%s: %+v from %v", tc.name, q, p.Src)
			}
			// It quotes the very packet that the client sent.
			want := packet.AppendEcho(nil, packet.EchoHeader{Src: ends[0], Dst: ends[1], ID: 1, Seq: 2, FragID: 3, TTL: 9, TOS: 4}, []byte("payload"))
			if string(p.Payload) != string(want) {
				t.Errorf("%s: quotes %x, want %x", tc.name, p.Payload, want)
			}
			r.deny = true
			if err := tc.send(e); err != nil || len(r.sent) != 0 || r.drops.Load(drop.ICMPRate) != 1 {
				t.Errorf("%s: beyond the rate: %v, %d sent, %v", tc.name, err, len(r.sent), r.drops.Snapshot())
			}
		}
	}
	e := newRig(t).accept(client4, server4, "")
	if err := e.Report(&Error{Kind: packet.OtherError}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("what cannot be sent: %v", err)
	}
}

// TestRate: one source may send so many at once, and others meanwhile.
func TestRate(t *testing.T) {
	r := newRig(t, func(e *Env) { e.Queue = 10000 })
	for range echoBurst + 10 {
		r.ping(client4, server4, "x")
	}
	if n := r.drops.Load(drop.EchoRate); n != 10 || len(r.Echoes()) != echoBurst {
		t.Errorf("%d dropped, %d taken", n, len(r.Echoes()))
	}
	r.now = r.now.Add(time.Second)
	r.ping(client4, server4, "x")
	if n := r.drops.Load(drop.EchoRate); n != 10 {
		t.Errorf("%d dropped after a second", n)
	}
}

// TestAcceptEnds: what AcceptEcho returns when there is nothing to come, and what
// becomes of what waits.
func TestAcceptEnds(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("why")
	cancel(why)
	r.ping(client4, server4, "x")
	var op *net.OpError
	if _, err := r.AcceptEcho(ctx); !errors.Is(err, why) || !errors.As(err, &op) || op.Addr.String() != "any" {
		t.Errorf("ended context: %v", err)
	}
	r.ping(client4, server4, "x")
	r.CloseCause(why)
	_ = r.Close()
	r.ping(client4, server4, "x")
	if _, err := r.AcceptEcho(context.Background()); !errors.Is(err, why) {
		t.Errorf("closed: %v", err)
	}
	if n := r.drops.Load(drop.EchoOff); n != 3 {
		t.Errorf("counted %d times", n)
	}
	shut := NewAcceptor(Env{Drops: &r.drops, Out: r})
	r.Acceptor = shut
	r.ping(client4, server4, "x")
	if n := r.drops.Load(drop.EchoOff); n != 4 || len(shut.Echoes()) != 0 {
		t.Errorf("not open: counted %d times", n)
	}
}

// TestReplyTooLong: a reply that no packet holds is an error, and counted by nobody.
func TestReplyTooLong(t *testing.T) {
	for _, ends := range [][2]netip.Addr{{client4, server4}, {client6, server6}} {
		r := newRig(t)
		e := r.accept(ends[0], ends[1], "x")
		if err := e.ReplyWith(make([]byte, 1<<16), 0); !errors.Is(err, syscall.EMSGSIZE) || len(r.sent) != 0 {
			t.Errorf("%v, %d sent", err, len(r.sent))
		}
		if err := e.ReplyWith(make([]byte, 65000), 0); err != nil || len(r.sent) < 40 {
			t.Errorf("%v, %d fragments", err, len(r.sent))
		}
	}
}

// TestBudget: what waits counts for the memory of the stack, what finds none is dropped
// and counted, and nothing is held once all are taken, one way or another.
func TestBudget(t *testing.T) {
	const limit = 10_000
	for name, empty := range map[string]func(r *rig){
		"accepted": func(r *rig) {
			for range 3 {
				if _, err := r.AcceptEcho(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		},
		"answered": func(r *rig) {
			for range 3 {
				e := <-r.Echoes()
				if err := e.Reply(); err != nil {
					t.Fatal(err)
				}
			}
		},
		"reported": func(r *rig) {
			<-r.Echoes()
			<-r.Echoes()
			if err := (<-r.Echoes()).Unreachable(nil); err != nil {
				t.Fatal(err)
			}
		},
		"closed": func(r *rig) { _ = r.Close() },
	} {
		b := budget.New(limit)
		r := newRig(t, func(e *Env) { e.Budget = b })
		for range 5 {
			r.ping(client4, server4, strings.Repeat("x", limit/4))
		}
		if used := b.Snapshot().Datagram; len(r.Echoes()) != 3 || used < 3*limit/4 || used > limit || r.drops.Load(drop.MemoryLimit) != 2 {
			t.Errorf("%s: %d wait, %d bytes, %v", name, len(r.Echoes()), used, r.drops.Snapshot())
		}
		empty(r)
		if used := b.Snapshot().Used; used != 0 {
			t.Errorf("%s: %d bytes are held", name, used)
		}
	}
}

package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// TestReject: what the client is told, from the packet on the wire to the error
// that a client's own stack makes of it.
func TestReject(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		for _, mapping := range []Mapping{PerSource, PerFlow, PerDestination} {
			for _, tc := range []struct {
				err    error
				kind   packet.Unreachable
				client error // nil: silence
				cause  flow.Cause
			}{
				{nil, packet.PortUnreachable, syscall.ECONNREFUSED, flow.DialFailed},
				{syscall.ECONNREFUSED, packet.PortUnreachable, syscall.ECONNREFUSED, flow.DialFailed},
				{errors.New("anything"), packet.PortUnreachable, syscall.ECONNREFUSED, flow.Reset},
				{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)},
					packet.HostUnreachable, syscall.EHOSTUNREACH, flow.DialFailed},
				{syscall.ENETUNREACH, packet.NetUnreachable, syscall.ENETUNREACH, flow.DialFailed},
				{syscall.EACCES, packet.AdminProhibited, syscall.EACCES, flow.Policy},
				{syscall.EPERM, packet.AdminProhibited, syscall.EACCES, flow.Policy},
				{flow.Policy, packet.AdminProhibited, syscall.EACCES, flow.Policy},
				{syscall.ETIMEDOUT, 0, nil, flow.TimedOut},
				{context.DeadlineExceeded, 0, nil, flow.TimedOut},
				{fmt.Errorf("dial: %w", os.ErrDeadlineExceeded), 0, nil, flow.TimedOut},
			} {
				t.Run(fmt.Sprintf("%v/%v", mapping, tc.err), func(t *testing.T) {
					client, server := pair(t, Config{}, Config{Mapping: mapping})
					c, err := client.dial(netip.AddrPort{}, f.server)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := c.Write([]byte("hello")); err != nil {
						t.Fatal(err)
					}
					s := server.accept()
					if err := s.Reject(tc.err); err != nil {
						t.Fatal(err)
					}
					if got := flow.CauseOf(s.Info().Cause); got != tc.cause {
						t.Errorf("cause %v, want %v", got, tc.cause)
					}
					server.wantDrops(drop.UDPRefused, 1)
					if err := s.Reject(tc.err); !errors.Is(err, net.ErrClosed) {
						t.Errorf("second Reject: %v", err)
					}
					_, err = c.Write([]byte("again"))
					if !errors.Is(err, tc.client) || (err == nil) != (tc.client == nil) {
						t.Errorf("client sees %v, want %v", err, tc.client)
					}
					if tc.client == nil {
						return
					}
					if n, err := c.Write([]byte("again")); n != 5 || err != nil {
						t.Errorf("the error came twice: %v", err)
					}
				})
			}
		}
	})
}

// The error quotes the headers of the packet that opened the Socket, and seems to
// come from where that was sent to.
func TestRejectQuotes(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{})
		s := r.opened(f.client, f.server)
		r.receive(f.client, f.far, "second")
		if err := s.Reject(nil); err != nil {
			t.Fatal(err)
		}
		p := r.sent()
		e, ok := packet.ParseICMPError(p)
		if !ok || p.Src != f.server.Addr() || p.Dst != f.client.Addr() || e.Src != f.client ||
			e.Dst != f.server || e.Kind != packet.PortUnreachable || e.Proto != packet.UDP {
			t.Errorf("%v -> %v: %+v, %v", p.Src, p.Dst, e, ok)
		}
		r.wantDrops(drop.UDPRefused, 2)
	})
}

// Refuse tells of one datagram and leaves the Socket alone.
func TestRefuse(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		for _, mapping := range []Mapping{PerSource, PerFlow, PerDestination} {
			r := newRig(t, Config{Mapping: mapping})
			s := r.opened(f.client, f.server)
			m, err := s.ReadMsg(make([]byte, 9))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Refuse(m, syscall.EHOSTUNREACH); err != nil {
				t.Fatal(err)
			}
			p := r.sent()
			e, ok := packet.ParseICMPError(p)
			if !ok || p.Src != f.server.Addr() || e.Src != f.client || e.Dst != f.server || e.Kind != packet.HostUnreachable {
				t.Errorf("%v: %+v", mapping, e)
			}
			if err := s.Refuse(m, syscall.ETIMEDOUT); err != nil || len(r.out.take()) != 0 {
				t.Errorf("timeout: %v, or an answer", err)
			}
			wrong := m
			wrong.Source, wrong.Destination = f.stranger, netip.AddrPort{}
			if mapping == PerDestination {
				wrong.Destination = f.far
			}
			if err := s.Refuse(wrong, nil); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%v: refusing what never came: %v", mapping, err)
			}
			if s.err() != nil {
				t.Errorf("%v: ended", mapping)
			}
			s.Close()
			if err := s.Refuse(m, nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
	})
}

// A blocked reader hears of the refusal too, once.
func TestRefusedWhileReading(t *testing.T) {
	client, server := pair(t, Config{}, Config{})
	c, err := client.dial(netip.AddrPort{}, families[0].server)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { // ends with its Read
		_, err := c.Read(make([]byte, 10))
		got <- err
	}()
	c.Write([]byte("x"))
	server.accept().Reject(nil)
	var op *net.OpError
	if err := <-got; !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "read" {
		t.Errorf("Read = %v", err)
	}
}

// An acceptor that nobody has asked refuses, and so does a closed one.
func TestNobodyAccepts(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{})
		r.acceptor.asked.Store(false)
		r.receive(f.client, f.server, "x")
		if e, ok := packet.ParseICMPError(r.sent()); !ok || e.Kind != packet.PortUnreachable {
			t.Errorf("answered %+v", e)
		}
		r.wantDrops(drop.UDPNobody, 1)
		r.Acceptor().Close()
		r.acceptor.asked.Store(true)
		r.receive(f.client, f.server, "x")
		r.sent()
		r.wantDrops(drop.UDPNobody, 2)
		if got := r.Stats().Sockets; got != 0 {
			t.Errorf("%d Sockets", got)
		}
	})
}

func TestAdmit(t *testing.T) {
	f := families[0]
	verdict := Accept
	asked := 0
	r := newRig(t, Config{Admit: func(src, dst netip.AddrPort) Verdict {
		asked++
		if src != f.client || dst != f.server {
			t.Errorf("Admit(%v, %v)", src, dst)
		}
		return verdict
	}})
	verdict = Refuse
	r.receive(f.client, f.server, "x")
	r.sent()
	r.wantDrops(drop.UDPRefused, 1)
	for _, verdict = range []Verdict{Drop, 77} {
		r.receive(f.client, f.server, "x")
	}
	r.wantDrops(drop.UDPDropped, 2)
	verdict = Accept
	r.receive(f.client, f.server, "x")
	r.receive(f.client, f.server, "x")
	if asked != 4 || r.Stats().Sockets != 1 || len(r.out.take()) != 0 {
		t.Errorf("asked %d times, %+v", asked, r.Stats())
	}
}

// ICMP errors are rationed by whoever owns the ration.
func TestICMPRate(t *testing.T) {
	f := families[0]
	var asked []netip.Addr
	r := newRig(t, Config{}, func(e *Env) {
		e.AllowICMP = func(a netip.Addr) bool { asked = append(asked, a); return len(asked) == 1 }
	})
	r.Acceptor().Close()
	r.receive(f.client, f.server, "x")
	r.receive(f.client, f.server, "x")
	r.sent()
	r.wantDrops(drop.ICMPRate, 1)
	if len(asked) != 2 || asked[1] != f.client.Addr() {
		t.Errorf("asked for %v", asked)
	}
}

// Refuse passes on what a router said, in its name, about the datagram.
func TestRefuseWithFault(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		for _, tc := range []struct {
			fault packet.Fault
			from  netip.Addr
		}{
			{packet.Fault{Kind: packet.TimeExceeded, From: f.far.Addr()}, f.far.Addr()},
			{packet.Fault{Kind: packet.TooBig, From: f.far.Addr(), MTU: 1300}, f.far.Addr()},
			{packet.Fault{Kind: packet.HostUnreachable}, f.server.Addr()},
			{packet.Fault{Kind: packet.PortUnreachable, From: f.loopback}, f.server.Addr()},
			{packet.Fault{Kind: packet.NetUnreachable, From: otherFamily(f).far.Addr()}, f.server.Addr()},
		} {
			r := newRig(t, Config{})
			s := r.opened(f.client, f.server)
			m, err := s.ReadMsg(make([]byte, 9))
			if err != nil {
				t.Fatal(err)
			}
			if m.HopLimit != 64 {
				t.Errorf("a datagram with %d hops", m.HopLimit)
			}
			if err := s.Refuse(m, fmt.Errorf("upstream: %w", &tc.fault)); err != nil {
				t.Fatal(err)
			}
			p := r.sent()
			e, ok := packet.ParseICMPError(p)
			if !ok || e.Kind != tc.fault.Kind || e.MTU != tc.fault.MTU || p.Src != tc.from || e.Src != f.client || e.Dst != f.server {
				t.Errorf("%v: %+v from %v", &tc.fault, e, p.Src)
			}
			if err := s.Refuse(m, &packet.Fault{Kind: packet.OtherError}); err != nil || len(r.out.take()) != 0 {
				t.Errorf("what cannot be sent: %v", err)
			}
		}
	})
}

func otherFamily(f family) family {
	for _, other := range families {
		if other.name != f.name {
			return other
		}
	}
	return f
}

// By default each source has a ration of its own, which fills up again.
func TestDefaultICMPRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[0]
		r := newRig(t, Config{})
		r.Acceptor().Close()
		for _, tc := range []struct {
			from      netip.AddrPort
			pause     time.Duration
			n, answer int
		}{
			{f.client, 0, 150, icmpRate},
			{f.other, 0, 10, 0}, // the same source
			{f.client, time.Second / 2, 100, icmpRate / 2},
			{f.client, time.Hour, 150, icmpRate},
		} {
			time.Sleep(tc.pause)
			for range tc.n {
				r.receive(tc.from, f.server, "x")
			}
			if got := len(r.out.take()); got != tc.answer {
				t.Errorf("%v, %d after %v: %d answers, want %d", tc.from, tc.n, tc.pause, got, tc.answer)
			}
		}
		r.wantDrops(drop.ICMPRate, 50+10+50+50)
	})
}

// TestHandleError: which Sockets a client's ICMP error reaches, and as what.
func TestHandleError(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		for _, tc := range []struct {
			kind packet.Unreachable
			cfg  Config
			want error
		}{
			{packet.PortUnreachable, Config{}, syscall.ECONNREFUSED},
			{packet.PortUnreachable, Config{Mapping: PerFlow}, syscall.ECONNREFUSED},
			{packet.PortUnreachable, Config{Mapping: PerDestination}, nil},
			{packet.HostUnreachable, Config{}, syscall.EHOSTUNREACH},
			{packet.NetUnreachable, Config{}, syscall.ENETUNREACH},
			{packet.AdminProhibited, Config{}, syscall.EACCES},
			{packet.ProtocolUnreachable, Config{}, syscall.ENOPROTOOPT},
			{packet.TimeExceeded, Config{}, nil},
			{packet.TooBig, Config{}, nil},
			{packet.TooBig, Config{DontFragment: true}, syscall.EMSGSIZE},
		} {
			r := newRig(t, tc.cfg)
			s := r.opened(f.client, f.server)
			answer := f.client
			if tc.cfg.Mapping == PerSource {
				answer = f.server
			}
			if _, err := s.WriteToUDPAddrPort([]byte("answer"), answer); err != nil {
				t.Fatal(err)
			}
			r.handle(packet.AppendICMPError(nil, f.client.Addr(), tc.kind, r.sent().Raw, 1280))
			_, err := s.WriteToUDPAddrPort(nil, answer)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("%v, %v: %v, want %v", tc.kind, tc.cfg.Mapping, err, tc.want)
			}
			if _, err := s.WriteToUDPAddrPort(nil, answer); err != nil {
				t.Errorf("%v: second write %v", tc.kind, err)
			}
			r.wantDrops(drop.ICMPNoFlow, 0)
		}
	})
}

// An error that quotes a flow we do not have is counted, and changes nothing.
func TestHandleErrorNoFlow(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	s := r.opened(f.client, f.server)
	forged := datagramPacket(f.server, f.stranger, "x")
	r.handle(packet.AppendICMPError(nil, f.stranger.Addr(), packet.PortUnreachable, forged, 0))
	r.wantDrops(drop.ICMPNoFlow, 1)
	if _, err := s.WriteToUDPAddrPort(nil, f.server); err != nil {
		t.Error(err)
	}
	r.HandleError(packet.ICMPError{Proto: packet.TCP}) // not ours to count
	r.wantDrops(drop.ICMPNoFlow, 1)
}

func TestMulticast(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		groups := []netip.AddrPort{netip.AddrPortFrom(f.multicast, 5353)}
		if f.name == "v4" {
			groups = append(groups, ap("255.255.255.255:67"))
		}
		for _, g := range groups {
			r := newRig(t, Config{})
			r.receive(f.client, g, "x")
			r.wantDrops(drop.Multicast, 1)

			r = newRig(t, Config{Multicast: true})
			s := r.opened(f.client, g)
			if m, err := s.ReadMsg(make([]byte, 9)); err != nil || m.Destination != g {
				t.Errorf("ReadMsg = %+v, %v", m, err)
			}
			if _, err := s.WriteToUDPAddrPort(nil, g); !errors.Is(err, syscall.EACCES) {
				t.Errorf("sending from %v: %v", g, err)
			}
			if err := s.Reject(nil); err != nil {
				t.Error(err)
			}
			if n := len(r.out.take()); n != 0 {
				t.Errorf("%d answers to a multicast", n)
			}
		}
	})
}

package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/stack"
)

// wire is a stack under a Server, with packets built by hand on the other side.
type wire struct {
	t     *testing.T
	rig   *rig // which knows the fronts
	stack *stack.Stack
	conn  *l3conn.PipeEnd
	done  sync.WaitGroup

	mu      sync.Mutex
	answers map[netip.Addr]packet.ICMPError // by the destination they quote
	resets  int
	synacks map[netip.AddrPort]int // by the client they go to
}

func newWire(t *testing.T, srv *Server) *wire {
	return newWireOn(t, srv, stack.Config{Addrs: serverAddrs, TCP: lazy})
}

func newWireOn(t *testing.T, srv *Server, cfg stack.Config) *wire {
	x, y := l3conn.Pipe(0, 0)
	w := &wire{t: t, conn: x, answers: make(map[netip.Addr]packet.ICMPError), synacks: make(map[netip.AddrPort]int)}
	r := &rig{t: t, fwd: srv, routes: make(map[netip.AddrPort]netip.AddrPort)}
	if srv.Route == nil {
		srv.Route, srv.RouteNeverWaits = r.route, !goroutines
	}
	w.rig = r
	w.stack = runStack(t, y, cfg)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_, _ = w.stack.TCP().AcceptStream(over) // it refuses until it is asked
	_, _ = w.stack.UDP().AcceptSocket(over)
	r.work = srv.newSession(w.stack)
	r.serve()
	w.done.Go(w.read) // awaited below
	t.Cleanup(func() {
		_ = x.Close()
		w.done.Wait()
	})
	return w
}

// read notes what the stack answers.
func (w *wire) read() {
	b := make([]byte, 2000)
	for {
		n, err := w.conn.Read(b)
		if err != nil {
			return
		}
		var p packet.Packet
		if p.Decode(b[:n]) != drop.None || !p.ChecksumOK() {
			w.t.Errorf("the stack sent nonsense: %x", b[:n])
			continue
		}
		w.mu.Lock()
		if e, ok := packet.ParseICMPError(&p); ok {
			w.answers[e.Dst.Addr()] = e
		} else if p.Proto == packet.TCP && p.Flags&packet.RST != 0 {
			w.resets++
		} else if p.Proto == packet.TCP && p.Flags == packet.SYN|packet.ACK {
			w.synacks[p.DstAddrPort()]++
		} else {
			w.t.Errorf("the stack answered %v with %v", p.Dst, p.Src)
		}
		w.mu.Unlock()
	}
}

// source is the client, which is no host of anybody's.
func source(dst netip.Addr, port uint16) netip.AddrPort {
	if dst.Is4() {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.99"), port)
	}
	return netip.AddrPortFrom(netip.MustParseAddr("2001:db8:99::99"), port)
}

func (w *wire) send(pkt []byte) {
	if len(pkt) == 0 {
		w.t.Fatal("no such packet can be built")
	}
	if _, err := w.conn.Write(pkt); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) syn(dst netip.AddrPort) { w.synFrom(source(dst.Addr(), 1234), dst) }

func (w *wire) synFrom(src, dst netip.AddrPort) {
	w.send(packet.AppendTCP(nil, packet.TCPHeader{
		Src: src, Dst: dst, Seq: 1, Flags: packet.SYN, Window: 65535,
	}, nil))
}

func (w *wire) datagram(dst netip.AddrPort) {
	w.send(packet.AppendUDP(nil, source(dst.Addr(), 1234), dst, 0, 0, []byte("let me in")))
}

// mapped returns pkt, an IPv6 packet to ::ffff:0:0/96, which no builder makes: it is
// built to an address of the same checksum and turned.
func mapped(build func(dst netip.Addr) []byte, v4 netip.Addr) []byte {
	b := v4.As4()
	stand := [16]byte{0: 0xff, 1: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
	pkt := build(netip.AddrFrom16(stand))
	pkt[24], pkt[25] = 0, 0
	pkt[34], pkt[35] = 0xff, 0xff
	return pkt
}

// victim is what must not be reached: the host's loopback.
type victim struct {
	tcp []*net.TCPListener
	udp []*net.UDPConn
}

func newVictim(t *testing.T) *victim {
	v := new(victim)
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", host)
		if err != nil {
			continue // no IPv6 here: one address less that could be reached
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = l.Close(), pc.Close() })
		v.tcp, v.udp = append(v.tcp, l.(*net.TCPListener)), append(v.udp, pc.(*net.UDPConn))
	}
	return v
}

func (v *victim) ports() []uint16 {
	var all []uint16
	for _, l := range v.tcp {
		all = append(all, l.Addr().(*net.TCPAddr).AddrPort().Port())
	}
	return all
}

// untouched fails unless the first thing to reach each socket is what it sends now.
func (v *victim) untouched(t *testing.T) {
	t.Helper()
	for _, l := range v.tcp {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Accept()
		if err != nil || got.RemoteAddr().String() != c.LocalAddr().String() {
			t.Errorf("%v was reached by %v, %v", l.Addr(), got, err)
		}
		_, _ = c.Close(), got.Close()
	}
	for _, pc := range v.udp {
		c, err := net.Dial("udp", pc.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, from, err := pc.ReadFrom(b)
		if err != nil || string(b[:n]) != "x" {
			t.Errorf("%v got %q from %v, %v", pc.LocalAddr(), b[:n], from, err)
		}
		_ = c.Close()
	}
}

// TestForbiddenDestinations: SYNs and datagrams to where nobody may go are dropped
// and counted by the stack, or refused and counted by the Policy and answered with
// "administratively prohibited". The host's loopback gets nothing.
func TestForbiddenDestinations(t *testing.T) { eachWay(t, testForbiddenDestinations) }

func testForbiddenDestinations(t *testing.T) {
	v := newVictim(t)
	for _, tc := range []struct {
		addr   string
		policy bool // refused by the Policy, else dropped by the stack
	}{
		{"127.0.0.1", false},
		{"127.0.0.53", false},
		{"::1", false},
		{"0.0.0.0", false},
		{"::", false},
		{"::ffff:127.0.0.1", false},
		{"::ffff:0.0.0.0", false},
		{"169.254.169.254", true},
		{"fe80::1", true},
		{"fd00:ec2::254", true},
		{"64:ff9b::127.0.0.1", true},
		{"64:ff9b::a9fe:a9fe", true},
		{"2002:7f00:1::1", true},
		{"10.9.0.1", true}, // the stack's own
		{"fd99::1", true},
	} {
		t.Run(tc.addr, func(t *testing.T) {
			srv := &Server{}
			w := newWire(t, srv)
			a := netip.MustParseAddr(tc.addr)
			n := uint64(0)
			for _, port := range v.ports() {
				n++
				if dst := netip.AddrPortFrom(a, port); a.Is4In6() {
					w.send(mapped(func(dst netip.Addr) []byte {
						return packet.AppendTCP(nil, packet.TCPHeader{Src: source(dst, 1), Dst: netip.AddrPortFrom(dst, port), Flags: packet.SYN}, nil)
					}, a.Unmap()))
					w.send(mapped(func(dst netip.Addr) []byte {
						return packet.AppendUDP(nil, source(dst, 1), netip.AddrPortFrom(dst, port), 0, 0, []byte("x"))
					}, a.Unmap()))
				} else {
					w.syn(dst)
					w.datagram(dst)
				}
			}
			if !tc.policy {
				wait(t, "the stack to drop", func() bool { return w.stack.Stats().Drops[drop.MartianDestination.String()] == 2*n })
				if st := srv.Stats(); st.Streams != 0 {
					t.Errorf("%+v: something got through to the Server", st)
				}
			} else {
				wait(t, "the Policy to refuse", func() bool {
					// A datagram that comes while the one before ends their Socket shares
					// its fate, and is counted by the stack.
					st, drops := srv.Stats(), w.stack.Stats().Drops
					return st.PolicyStreams == n && st.PolicyDatagrams+drops[drop.UDPRefused.String()] == n
				})
				wait(t, "an answer", func() bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return w.answers[a].Kind == packet.AdminProhibited
				})
			}
			if got := srv.Stats().Dials; got != 0 {
				t.Errorf("%d dials, want none", got)
			}
		})
	}
	v.untouched(t)
}

// TestForbiddenNames: a name that stands for the host's loopback is not dialled,
// whoever resolves it.
func TestForbiddenNames(t *testing.T) { eachWay(t, testForbiddenNames) }

func testForbiddenNames(t *testing.T) {
	v := newVictim(t)
	var real net.Dialer
	used := 0
	for _, tc := range []struct {
		name   string
		dialer Dialer
		touch  bool // the connection was made before it could be judged
	}{
		{"default", nil, false},
		{"net.Dialer", new(net.Dialer), false},
		{"net.Dialer with a Control of its own", &net.Dialer{Control: func(string, string, syscall.RawConn) error { used++; return nil }}, false},
		{"direct.Dialer", new(direct.Dialer), false},
		{"any Dialer", dialFunc(real.DialContext), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := Target{Host: "localhost", Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), v.ports()[0])}
			srv := &Server{
				Dialer: tc.dialer,
				Route:  func(context.Context, outbound.Flow) (Target, error) { return target, nil },
			}
			r := newRig(t, srv, stack.Config{TCP: lazy})
			// ICMP "administratively prohibited" is EHOSTUNREACH in the end, as on Linux.
			if _, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.EACCES) {
				t.Errorf("dial: %v, want a refusal", err)
			}
			if got := r.causes("tcp", 1); !errors.Is(got[0], stack.Policy) {
				t.Errorf("cause %v, want policy", got[0])
			}
			if got := srv.Stats().PolicyStreams; got != 1 {
				t.Errorf("%d streams refused, want 1", got)
			}
			if tc.touch { // it was closed at once
				_ = v.tcp[0].SetDeadline(time.Now().Add(patience))
				if c, err := v.tcp[0].Accept(); err == nil {
					if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
						t.Error("something came through")
					}
					_ = c.Close()
				}
			}
		})
	}
	if used != 0 {
		t.Error("the user's Control ran for a forbidden address")
	}
	v.untouched(t)
}

// TestAllowLoopback: what is allowed is dialled, and the user's Control still runs.
func TestAllowLoopback(t *testing.T) { eachWay(t, testAllowLoopback) }

func testAllowLoopback(t *testing.T) {
	l := listenLoopback(t)
	used := make(chan string, 1)
	srv := &Server{
		Policy: Policy{AllowLoopback: true},
		Dialer: &net.Dialer{ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			used <- address
			return nil
		}},
		Route: func(context.Context, outbound.Flow) (Target, error) {
			return Target{Host: "127.0.0.1", Addr: l.Addr().(*net.TCPAddr).AddrPort()}, nil
		},
	}
	r := newRig(t, srv, stack.Config{TCP: lazy})
	c := r.dial("198.51.100.7:80")
	up, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	echo(t, c, up)
	if got := <-used; got != l.Addr().String() {
		t.Errorf("Control saw %s, want %v", got, l.Addr())
	}
}

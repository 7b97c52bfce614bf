package socks5

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// relay is a proxy with one association, of which the test is the other side.
type relay struct {
	t    *testing.T
	d    *Dialer
	udp  *net.UDPConn
	ctrl chan *net.TCPConn
	from net.Addr // whence the client's last datagram came
}

// newRelay binds the relay's socket to 127.0.0.1 and says bound of it; port 0 there
// is the real one.
func newRelay(t *testing.T, bound string) *relay {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	r := &relay{t: t, udp: udp, ctrl: make(chan *net.TCPConn, 1)}
	to, err := socksaddr.Split(bound)
	if err != nil {
		t.Fatal(err)
	}
	if to.Port == 0 {
		to.Port = udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	}
	r.d = &Dialer{Address: serve(t, func(c *net.TCPConn) {
		associate := step{Want: []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, Answer: to.Append([]byte{5, 0, 0})}
		if play(t, c, greeting, associate) {
			r.ctrl <- c
			_, _ = c.Read(make([]byte, 1)) // until the client ends it
		}
	})}
	return r
}

func (r *relay) listen() *association {
	r.t.Helper()
	pc, err := r.d.ListenPacket(soon(r.t), "udp4", ":0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = pc.Close() })
	_ = pc.SetReadDeadline(time.Now().Add(patience))
	return pc.(*association)
}

// wantDatagram is what the proxy gets.
func (r *relay) wantDatagram(want string) {
	r.t.Helper()
	b := make([]byte, 1<<16)
	_ = r.udp.SetReadDeadline(time.Now().Add(patience))
	n, from, err := r.udp.ReadFrom(b)
	if err != nil || string(b[:n]) != want {
		r.t.Fatalf("the proxy gets % x, %v, want % x", b[:n], err, want)
	}
	r.from = from
}

func (r *relay) send(b string) {
	r.t.Helper()
	if _, err := r.udp.WriteTo([]byte(b), r.from); err != nil {
		r.t.Fatal(err)
	}
}

// TestAssociation: addresses and names out and in, in slices large and small.
func TestAssociation(t *testing.T) {
	for _, bound := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		r := newRelay(t, bound)
		pc := r.listen()
		for _, tc := range []struct {
			addr   net.Addr
			header string
		}{
			{net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:53")), "\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"},
			{net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:53")),
				"\x00\x00\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x35"},
			{outbound.Name{Host: "a.example", Port: 53}, "\x00\x00\x00\x03\x09a.example\x00\x35"},
		} {
			for _, size := range []int{0, 1, 1400, 60000} {
				payload := strings.Repeat("p", size)
				if n, err := pc.WriteTo([]byte(payload), tc.addr); n != size || err != nil {
					t.Fatalf("%v: WriteTo: %d, %v", tc.addr, n, err)
				}
				r.wantDatagram(tc.header + payload)
				for _, room := range []int{1 << 16, size, size / 2} {
					r.send(tc.header + payload)
					b := make([]byte, room)
					n, from, err := pc.ReadFrom(b)
					if err != nil || string(b[:n]) != payload[:min(room, size)] || from.String() != tc.addr.String() {
						t.Fatalf("%v: ReadFrom into %d: %d, %v, %v", tc.addr, room, n, from, err)
					}
					if _, name := tc.addr.(outbound.Name); name && from != tc.addr {
						t.Errorf("from a %T, want a Name", from)
					}
				}
			}
		}
		if n := r.d.Stats().Associations; n != 1 {
			t.Errorf("%d associations, want 1", n)
		}
	}
}

// TestAssociationIPv6: at a proxy that is reached by IPv6.
func TestAssociationIPv6(t *testing.T) {
	udp, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer udp.Close()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	bound := socksaddr.Addr{IP: netip.IPv6Unspecified(), Port: udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
	fakeproxy.ServeOn(t, l, func(c net.Conn) {
		if play(t, c, greeting, step{Want: []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, Answer: bound.Append([]byte{5, 0, 0})}) {
			_, _ = c.Read(make([]byte, 1))
		}
	})
	d := &Dialer{Address: l.Addr().String()}
	pc, err := d.ListenPacket(soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if _, err := pc.WriteTo([]byte("out"), outbound.Name{Host: "x", Port: 1}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	_ = udp.SetReadDeadline(time.Now().Add(patience))
	n, from, err := udp.ReadFrom(b)
	if err != nil || string(b[:n]) != "\x00\x00\x00\x03\x01x\x00\x01out" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if _, err := udp.WriteTo(b[:n], from); err != nil {
		t.Fatal(err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(patience))
	if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "out" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// TestRelayAddr: where datagrams go, by what the proxy says and how it was reached.
func TestRelayAddr(t *testing.T) {
	v4, v6, any4, any6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.IPv4Unspecified(), netip.IPv6Unspecified()
	tcp := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 1080}
	for _, tc := range []struct {
		proxy  string
		remote net.Addr
		bound  socksaddr.Addr
		want   string // "": an error
	}{
		{"p:1", tcp, socksaddr.Addr{IP: v4, Port: 9}, "192.0.2.1:9"},
		{"p:1", tcp, socksaddr.Addr{IP: v6, Port: 9}, "[2001:db8::1]:9"},
		{"p:1", tcp, socksaddr.Addr{IP: any4, Port: 9}, "198.51.100.1:9"},
		{"p:1", tcp, socksaddr.Addr{IP: any6, Port: 9}, "198.51.100.1:9"},
		{"p:1", tcp, socksaddr.Addr{Port: 9}, "198.51.100.1:9"}, // an empty name
		{"p:1", tcp, socksaddr.Addr{IP: v4}, ""},
		{"p:1", tcp, socksaddr.Addr{Name: "relay.example", Port: 9}, ""},
		{"/run/p", &net.UnixAddr{Name: "/run/p"}, socksaddr.Addr{IP: any4, Port: 9}, "127.0.0.1:9"},
		{"/run/p", &net.UnixAddr{Name: "/run/p"}, socksaddr.Addr{IP: any6, Port: 9}, "[::1]:9"},
		{"192.0.2.7:1", &net.UnixAddr{}, socksaddr.Addr{IP: any4, Port: 9}, "192.0.2.7:9"}, // behind another
		{"p:1", &net.UnixAddr{}, socksaddr.Addr{IP: any4, Port: 9}, ""},
	} {
		got, err := (&Dialer{Address: tc.proxy}).relayAddr(tc.bound, remote{addr: tc.remote})
		if (err == nil) != (tc.want != "") || err == nil && got.String() != tc.want {
			t.Errorf("%s at %v says %v: %v, %v, want %q", tc.proxy, tc.remote, tc.bound, got, err, tc.want)
		}
	}
}

// remote is a conn of which only that is known.
type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }

// TestAssociationDrops: fragments, nonsense, and what others send, are counted and
// do not reach the reader.
func TestAssociationDrops(t *testing.T) {
	r := newRelay(t, "127.0.0.1:0")
	pc := r.listen()
	if _, err := pc.WriteTo(nil, outbound.Name{Host: "x", Port: 1}); err != nil {
		t.Fatal(err)
	}
	r.wantDatagram("\x00\x00\x00\x03\x01x\x00\x01")
	stranger, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(
		netip.MustParseAddr("127.0.0.1"), pc.LocalAddr().(*net.UDPAddr).AddrPort().Port())))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	const head = "\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"
	if _, err := stranger.Write([]byte(head + "forged")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "\x00", "\x00\x00\x00", head[:9], "\x00\x00\x00\x02abcdefghi", "\x00\x00\x00\x03\x00\x00\x01", "\x00\x00\x00\x03\xffabc"} {
		r.send(bad)
	}
	waited := make(chan error)
	go func() { waited <- pc.WaitRead() }()
	r.send("\x00\x00\x01" + head[3:] + "part")
	if err := <-waited; err != nil {
		t.Errorf("WaitRead: %v", err)
	}
	r.send("\x00\x00\x81" + head[3:] + "last part")
	r.send(head + "good")
	b := make([]byte, 1<<16)
	n, _, err := pc.ReadFrom(b)
	if err != nil || string(b[:n]) != "good" {
		t.Fatalf("got %q, %v", b[:n], err)
	}
	until(t, "the stranger's datagram", func() bool {
		r.send(head + "good")
		_, _, err := pc.ReadFrom(b)
		return err != nil || r.d.Stats().Foreign == 1
	})
	if s := r.d.Stats(); s.Malformed != 7 || s.Fragments != 2 || s.Foreign != 1 {
		t.Errorf("%+v, want 7 malformed, 2 fragments, 1 foreign", s)
	}
}

// TestAssociationEnds: with the control connection, and hears why.
func TestAssociationEnds(t *testing.T) {
	r := newRelay(t, "127.0.0.1:0")
	pc := r.listen()
	read := make(chan error)
	go func() {
		_, _, err := pc.ReadFrom(make([]byte, 1<<16))
		read <- err
	}()
	c := <-r.ctrl
	_ = c.Close()
	for _, err := range []error{<-read, pc.WaitRead(), errOf(pc.ReadFrom(make([]byte, 9))), errOf(pc.WriteTo(nil, r.udp.LocalAddr()))} {
		var op *net.OpError
		if !errors.Is(err, outbound.ErrProxy) || !errors.As(err, &op) || op.Timeout() {
			t.Errorf("%v, want ErrProxy in a *net.OpError that is no time-out", err)
		}
	}
	if err := pc.SetReadDeadline(time.Now().Add(patience)); !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("SetReadDeadline: %v", err)
	}
	if err := errOf(pc.ReadFrom(make([]byte, 9))); !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("%v after a new deadline", err)
	}
	if err := pc.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := pc.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
}

func errOf(_ int, rest ...any) error {
	err, _ := rest[len(rest)-1].(error)
	return err
}

// TestAssociationClose: ends who reads, and the control connection.
func TestAssociationClose(t *testing.T) {
	r := newRelay(t, "127.0.0.1:0")
	pc := r.listen()
	c := <-r.ctrl
	read := make(chan error)
	go func() {
		_, _, err := pc.ReadFrom(make([]byte, 1<<16))
		read <- err
	}()
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadFrom: %v", err)
	}
	if _, err := pc.WriteTo(nil, r.udp.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo: %v", err)
	}
	if err := pc.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the control connection is still there")
	}
}

// TestAssociationErrors: a deadline, an address that is none, a datagram too large.
func TestAssociationErrors(t *testing.T) {
	r := newRelay(t, "127.0.0.1:0")
	pc := r.listen()
	if err := pc.SetDeadline(past); err != nil {
		t.Fatal(err)
	}
	if _, _, err := pc.ReadFrom(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadFrom: %v", err)
	}
	if err := pc.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pc.WriteTo(make([]byte, maxDatagram-5), r.udp.LocalAddr()); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a large one: %v", err)
	}
	if _, err := pc.WriteTo(nil, outbound.Name{}); err == nil {
		t.Error("no name is no error")
	}
	if err := pc.SetDeadline(past); err != nil {
		t.Fatal(err)
	}
	if err := pc.WaitRead(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("WaitRead: %v", err)
	}
}

// TestNoAssociation: proxies that cannot, or say where to in a way that is of no use.
func TestNoAssociation(t *testing.T) {
	for _, tc := range []struct {
		reply string
		want  error
	}{
		{"\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00", errors.ErrUnsupported},
		{"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", syscall.EACCES},
		{"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00", outbound.ErrProxy}, // port 0
		{"\x05\x00\x00\x03\x04host\x00\x09", outbound.ErrProxy},
		{"\x05\x00\x00\x01\x7f\x00", outbound.ErrProxy},
	} {
		d := &Dialer{Address: serve(t, func(c *net.TCPConn) {
			play(t, c, greeting, step{Want: []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, Answer: []byte(tc.reply)})
		})}
		pc, err := d.ListenPacket(soon(t), "udp4", ":0")
		var op *net.OpError
		if !errors.Is(err, tc.want) || !errors.As(err, &op) {
			t.Errorf("% x: %v, want %v", tc.reply, err, tc.want)
		}
		if pc != nil {
			_ = pc.Close()
		}
	}
	d := &Dialer{Address: "127.0.0.1:1", Dialer: dialFunc(nil)}
	if _, err := d.ListenPacket(t.Context(), "udp4", ":0"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("over what carries no datagrams: %v", err)
	}
	if _, err := d.ListenPacket(t.Context(), "tcp", ":0"); err == nil {
		t.Error("tcp is no error")
	}
}

// TestAnnounce: the proxy hears the address of the socket that is there.
func TestAnnounce(t *testing.T) {
	said := make(chan []byte, 1)
	d := &Dialer{Announce: true, Address: serve(t, func(c *net.TCPConn) {
		if !play(t, c, greeting) {
			return
		}
		b := make([]byte, 10)
		if _, err := c.Read(b); err != nil {
			return
		}
		said <- b
		_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 9})
		_, _ = c.Read(b)
	})}
	pc, err := d.ListenPacket(soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), pc.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	a, _, err := socksaddr.Parse((<-said)[3:])
	if err != nil || a.String() != want.String() {
		t.Errorf("announced %v, %v, want %v", a, err, want)
	}
}

// TestOtherSockets: a way to the proxy whose sockets are not the kernel's.
func TestOtherSockets(t *testing.T) {
	r := newRelay(t, "127.0.0.1:0")
	r.d.PacketListener = wrapping{}
	pc := r.listen()
	if _, plain := pc.pc.PacketConn.(*net.UDPConn); plain {
		t.Fatal("the socket is not wrapped")
	}
	if _, err := pc.WriteTo([]byte("out"), outbound.Name{Host: "x", Port: 1}); err != nil {
		t.Fatal(err)
	}
	r.wantDatagram("\x00\x00\x00\x03\x01x\x00\x01out")
	r.send("\x00\x00\x00\x03\x01x\x00\x01in")
	b := make([]byte, 9)
	if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "in" {
		t.Errorf("got %q, %v", b[:n], err)
	}
	if err := pc.WaitRead(); err != nil { // it cannot tell
		t.Errorf("WaitRead: %v", err)
	}
}

type wrapping struct{}

func (wrapping) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := new(net.ListenConfig).ListenPacket(ctx, network, address)
	return struct{ net.PacketConn }{pc}, err
}

// FuzzOpen: a datagram from the proxy is dropped and counted once, or its payload is
// its end.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35payload"))
	f.Add([]byte("\x00\x00\x00\x03\x01x\x00\x35"))
	f.Add([]byte("\x00\x00\x01\x03\x01x\x00\x35"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &association{d: new(Dialer)}
		from, payload, ok := a.open(b)
		s := a.d.Stats()
		if dropped := s.Malformed + s.Fragments; ok && dropped != 0 || !ok && dropped != 1 {
			t.Errorf("ok is %v, %+v", ok, s)
		}
		if ok && (!bytes.HasSuffix(b, payload) || len(from.Append(nil)) == 0) {
			t.Errorf("% x from %v in % x", payload, from, b)
		}
	})
}

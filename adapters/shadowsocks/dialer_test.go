package shadowsocks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Jigsaw-Code/outline-sdk/transport/shadowsocks"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// TestRealServer: every method against shadowsocks-libev, in bulk, and
// datagrams to addresses and names.
func TestRealServer(t *testing.T) {
	for _, method := range Methods {
		t.Run(method, func(t *testing.T) {
			d := &Dialer{Address: realproxy.Shadowsocks(t, method, "s3cret"), Method: strings.ToUpper(method), Password: "s3cret"}
			echo := realproxy.Echo(t, "127.0.0.1:0")
			_, port, _ := net.SplitHostPort(echo)
			for _, address := range []string{echo, realproxy.Echo(t, "[::1]:0"), "localhost:" + port} {
				c, err := d.DialContext(fakeproxy.Soon(t), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				fakeproxy.WantEcho(t, c)
				bulk(t, c)
				_ = c.Close()
			}
			udp(t, d)
		})
	}
}

// bulk sends random bytes both ways and compares.
func bulk(t *testing.T, c net.Conn) {
	const size = 1 << 20
	src := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(src)
	sent := make(chan error, 1)
	go func() { // ends with the conn's deadline at the latest
		_, err := c.Write(src)
		sent <- err
	}()
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got); err != nil || sha256.Sum256(got) != sha256.Sum256(src) {
		t.Errorf("not what was sent, or %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(got); err != io.EOF { // this server ends both ways then
		t.Errorf("after the end: %v", err)
	}
}

func udp(t *testing.T, d *Dialer) {
	pc, err := d.ListenPacket(fakeproxy.Soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(fakeproxy.Patience))
	one, other := netip.MustParseAddrPort(realproxy.EchoUDP(t, "127.0.0.1:0")), netip.MustParseAddrPort(realproxy.EchoUDP(t, "[::1]:0"))
	for _, to := range []net.Addr{net.UDPAddrFromAddrPort(one), net.UDPAddrFromAddrPort(other), outbound.Name{Host: "localhost", Port: one.Port()}} {
		for _, room := range []int{1 << 16, 1000} {
			if _, err := pc.WriteTo([]byte(to.String()), to); err != nil {
				t.Fatal(err)
			}
			if err := pc.(outbound.PacketWaiter).WaitRead(); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, room)
			n, from, err := pc.ReadFrom(b)
			if err != nil || string(b[:n]) != to.String() {
				t.Fatalf("%v: %q, %v", to, b[:n], err)
			}
			if _, name := to.(outbound.Name); !name && from.String() != to.String() {
				t.Errorf("%v answers as %v", to, from)
			}
		}
	}
}

// TestWrongPassword: the server says nothing, and neither does the error of the
// password.
func TestWrongPassword(t *testing.T) {
	d := &Dialer{Address: realproxy.Shadowsocks(t, "aes-256-gcm", "s3cret"), Method: "aes-256-gcm", Password: "hunter2"}
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", realproxy.Echo(t, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // it keeps those waiting who may be probing
	if n, err := c.Read(make([]byte, 1)); err == nil || n != 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestLies: what a server says that has not the key is an error of the first Read.
func TestLies(t *testing.T) {
	for _, tc := range []struct {
		answer []byte
		want   error // nil: any
	}{
		{nil, io.EOF},
		{[]byte("x"), io.ErrUnexpectedEOF},
		{bytes.Repeat([]byte("x"), 32), io.EOF},
		{bytes.Repeat([]byte("x"), 1000), nil},
	} {
		d := &Dialer{Method: "chacha20-ietf-poly1305", Password: "s3cret", Address: fakeproxy.Serve(t, func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1000))
			_, _ = c.Write(tc.answer)
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		})}
		c, err := d.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.1:80")
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(make([]byte, 100))
		var op *net.OpError
		if n != 0 || tc.want != nil && !errors.Is(err, tc.want) || err != io.EOF && !errors.As(err, &op) {
			t.Errorf("%d bytes: %d, %v, want %v", len(tc.answer), n, err, tc.want)
		}
		_ = c.Close()
	}
}

// TestMirror: a server that sends back what it is sent has not the key.
func TestMirror(t *testing.T) {
	d := &Dialer{Method: "aes-128-gcm", Password: "s3cret", Address: fakeproxy.Serve(t, func(c *net.TCPConn) { fakeproxy.Echo(c) })}
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 100)); n != 0 || !errors.Is(err, errMirror) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestMisuse: what cannot be is refused before anything is dialled.
func TestMisuse(t *testing.T) {
	never := fakeproxy.Dialer(func(context.Context, string, string) (net.Conn, error) {
		t.Error("the server was dialled")
		return nil, errors.New("no")
	})
	for _, d := range []*Dialer{
		{Method: "aes-256-gcm"},
		{Password: "s3cret"},
		{Method: "rc4-md5", Password: "s3cret"},
		{Method: "2022-blake3-aes-256-gcm", Password: "s3cret"},
	} {
		d.Address, d.Dialer = "192.0.2.9:1", never
		_, derr := d.DialContext(t.Context(), "tcp", "192.0.2.1:80")
		_, lerr := d.ListenPacket(t.Context(), "udp4", ":0")
		for _, err := range []error{derr, lerr} {
			if !errors.Is(err, outbound.ErrProxy) || !errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%q: %v", d.Method, err)
			}
		}
		if d.Check() == nil {
			t.Errorf("%q: Check finds nothing", d.Method)
		}
	}
	good := func() *Dialer {
		return &Dialer{Address: "192.0.2.9:1", Method: "aes-256-gcm", Password: "s3cret", Dialer: never}
	}
	if _, err := good().DialContext(t.Context(), "tcp", "nonsense"); err == nil {
		t.Error("an address without a port is no error")
	}
	if _, err := good().DialContext(t.Context(), "udp", "192.0.2.1:80"); err == nil {
		t.Error("a dial of udp is no error")
	}
	if _, err := good().ListenPacket(t.Context(), "tcp", ":0"); err == nil {
		t.Error("a socket of tcp is no error")
	}
	if _, err := good().ListenPacket(t.Context(), "udp4", ":0"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("over what carries no datagrams: %v", err)
	}
	named := &Dialer{Address: "a.example:1", Method: "aes-256-gcm", Password: "s3cret", Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		return nil, nil
	}}
	var dns *net.DNSError
	if _, err := named.ListenPacket(t.Context(), "udp4", ":0"); !errors.As(err, &dns) || !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("a server without an address: %v", err)
	}
	down := &Dialer{Address: realproxy.Closed(t), Method: "aes-256-gcm", Password: "s3cret"}
	if _, err := down.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.1:80"); !errors.Is(err, outbound.ErrProxy) || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the server is down: %v", err)
	}
}

// TestDrops: datagrams of others, or that make no sense, are counted and not read.
func TestDrops(t *testing.T) {
	srv, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	d := &Dialer{Address: "proxy.example:" + portOf(srv), Method: "aes-128-gcm", Password: "s3cret",
		Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}
	pc, err := d.ListenPacket(fakeproxy.Soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	us, err := net.ResolveUDPAddr("udp4", "127.0.0.1:"+portOf(pc))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := net.DialUDP("udp4", nil, us)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	key, err := d.encryption()
	if err != nil {
		t.Fatal(err)
	}
	send := func(plain []byte) {
		msg, err := shadowsocks.Pack(make([]byte, 2000), plain, key)
		if err == nil {
			_, err = srv.WriteTo(msg, us)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	good := append(socksaddr.Addr{Name: "a.example", Port: 7}.Append(nil), "good"...)
	for _, bad := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("x"), 100)} {
		if _, err := srv.WriteTo(bad, us); err != nil {
			t.Fatal(err)
		}
	}
	send(nil)
	send([]byte{9, 9, 9, 9})
	send([]byte{3, 0, 0, 1})
	send(good)
	_ = pc.SetReadDeadline(time.Now().Add(fakeproxy.Patience))
	for d.Stats().Foreign == 0 || d.Stats().Malformed < 6 {
		b := make([]byte, 100)
		n, from, err := pc.ReadFrom(b)
		if err != nil || string(b[:n]) != "good" || from != net.Addr(outbound.Name{Host: "a.example", Port: 7}) {
			t.Fatalf("got %q from %v, %v", b[:n], from, err)
		}
		send(good) // until the stranger's has come too
	}
	if s := d.Stats(); s.Malformed != 6 || s.Foreign != 1 {
		t.Errorf("%+v, want 6 malformed and 1 foreign", s)
	}
	if _, err := pc.WriteTo(make([]byte, maxDatagram-30), us); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a large one: %v", err)
	}
	_ = pc.SetReadDeadline(time.Unix(1, 0))
	if _, _, err := pc.ReadFrom(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadFrom: %v", err)
	}
}

func portOf(pc net.PacketConn) string {
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	return port
}

// FuzzOpen: nothing that was not encrypted with the key is taken for a datagram, and
// what was is its plain text's end.
func FuzzOpen(f *testing.F) {
	key, err := shadowsocks.NewEncryptionKey("aes-128-gcm", "s3cret")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x01\x7f\x00\x00\x01\x00\x35payload"))
	f.Add([]byte("\x03\x01x\x00\x35"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, ok := open(bytes.Clone(b), key); ok {
			t.Errorf("% x was decrypted", b)
		}
		if len(b) > 60000 {
			return
		}
		msg, err := shadowsocks.Pack(make([]byte, len(b)+100), b, key)
		if err != nil {
			t.Fatal(err)
		}
		if from, payload, ok := open(msg, key); ok && (!bytes.HasSuffix(b, payload) || from == socksaddr.Addr{}) {
			t.Errorf("% x from %v in % x", payload, from, b)
		}
	})
}

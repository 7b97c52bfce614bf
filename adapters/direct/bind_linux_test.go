package direct

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// option reads a socket's option.
func option(t *testing.T, c syscall.Conn, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, name) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestMark: every socket has the mark, a connection no keepalive.
func TestMark(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := &Dialer{Mark: 0x1ee7}
	c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("a mark needs CAP_NET_ADMIN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := option(t, c.(*net.TCPConn), unix.SO_MARK); got != 0x1ee7 {
		t.Errorf("mark %#x, want 0x1ee7", got)
	}
	if got := option(t, c.(*net.TCPConn), unix.SO_KEEPALIVE); got != 0 {
		t.Error("keepalive is on")
	}
	pc, err := d.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if got := option(t, pc.(*net.UDPConn), unix.SO_MARK); got != 0x1ee7 {
		t.Errorf("mark of a datagram socket %#x, want 0x1ee7", got)
	}
}

// TestKeepAlive: it is as configured.
func TestKeepAlive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, on := range []bool{false, true} {
		d := &Dialer{KeepAlive: net.KeepAliveConfig{Enable: on}}
		c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := option(t, c.(*net.TCPConn), unix.SO_KEEPALIVE) != 0; got != on {
			t.Errorf("keepalive %v, want %v", got, on)
		}
		_ = c.Close()
	}
}

// TestInterface: a socket leaves by the interface that was named, or not at all.
func TestInterface(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := &Dialer{Interface: "lo"}
	c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("an interface needs Linux 5.7 or CAP_NET_RAW: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var name string
	if cerr := raw.Control(func(fd uintptr) {
		name, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	}); cerr != nil || err != nil || name != "lo" {
		t.Errorf("bound to %q, %v, %v", name, cerr, err)
	}
	_ = c.Close()

	d = &Dialer{Interface: "none-such"}
	if _, err := d.DialContext(context.Background(), "tcp", l.Addr().String()); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("dial: %v, want ENODEV", err)
	}
	if _, err := d.ListenPacket(context.Background(), "udp", ":0"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("listen: %v, want ENODEV", err)
	}
}

// TestInterfaceOf: the interface is asked for anew, but not for loopback.
func TestInterfaceOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	name, why := "none-such", error(nil)
	var asked []string
	d := &Dialer{Interface: "lo", InterfaceOf: func(network string) (string, error) {
		asked = append(asked, network)
		return name, why
	}}
	ctx := context.Background()
	if c, err := d.DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	if s, err := d.Connect(ctx, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
	if len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{{"none-such", nil, syscall.ENODEV}, {"", syscall.ENETUNREACH, syscall.ENETUNREACH}, {"lo", nil, nil}} {
		name, why = tc.name, tc.err
		pc, err := d.ListenPacket(ctx, "udp4", ":0")
		if !errors.Is(err, tc.want) {
			t.Errorf("listen by %q: %v, want %v", name, err, tc.want)
		}
		if err == nil {
			_ = pc.Close()
		}
		if pc, err = d.ListenPing(ctx, "ip4:icmp"); !errors.Is(err, tc.want) {
			t.Errorf("ping by %q: %v, want %v", name, err, tc.want)
		}
		if err == nil {
			_ = pc.Close()
		}
		if tc.want == nil {
			continue
		}
		if _, err := d.DialContext(ctx, "tcp", "[2001:db8::1]:1"); !errors.Is(err, tc.want) {
			t.Errorf("dial by %q: %v, want %v", name, err, tc.want)
		}
		if _, err := d.Connect(ctx, netip.MustParseAddrPort("192.0.2.1:1")); !errors.Is(err, tc.want) {
			t.Errorf("connect by %q: %v, want %v", name, err, tc.want)
		}
	}
	for _, network := range []string{"udp4", "ip4", "tcp6", "tcp4"} {
		if !slices.ContainsFunc(asked, func(s string) bool { return strings.HasPrefix(s, network) }) {
			t.Errorf("not asked for %s, only for %v", network, asked)
		}
	}
}

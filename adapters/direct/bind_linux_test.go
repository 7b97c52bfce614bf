package direct

import (
	"context"
	"errors"
	"net"
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

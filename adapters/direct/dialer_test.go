package direct

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"

	"l3extract/internal/leak"

	"l3extract/adapters/outbound"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestDial: the zero Dialer reaches a listener, and a user's Control sees each
// socket.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	saw := make(chan string, 1)
	d := &Dialer{Control: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		saw <- address
		return nil
	}}
	c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-saw; got != l.Addr().String() {
		t.Errorf("Control saw %q, want %v", got, l.Addr())
	}
	up, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = up.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = l.Close()
	d.Control = nil
	if _, err := d.DialContext(context.Background(), "tcp", l.Addr().String()); runtime.GOOS != "windows" && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial of a closed port: %v, want ECONNREFUSED", err)
	}
}

// TestControlRefuses: an error of Control is the error of the call.
func TestControlRefuses(t *testing.T) {
	no := errors.New("no")
	d := &Dialer{Control: func(context.Context, string, string, syscall.RawConn) error { return no }}
	var op *net.OpError
	if _, err := d.DialContext(context.Background(), "tcp", "127.0.0.1:1"); !errors.Is(err, no) || !errors.As(err, &op) {
		t.Errorf("DialContext: %v", err)
	}
	if _, err := d.ListenPacket(context.Background(), "udp", "127.0.0.1:0"); !errors.Is(err, no) || !errors.As(err, &op) {
		t.Errorf("ListenPacket: %v", err)
	}
}

// TestListenPacket: datagrams of both families, by sockets of which whoever asked is told.
func TestListenPacket(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		var d Dialer
		told := 0
		pc, err := d.ListenPacket(outbound.WithSocket(context.Background(), func(syscall.RawConn) { told++ }), network, address)
		if err != nil {
			if network == "udp6" {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		if told != 1 {
			t.Errorf("told of %d sockets", told)
		}
		if _, err := pc.WriteTo([]byte("x"), pc.LocalAddr()); err != nil {
			t.Error(err)
		}
		b := make([]byte, 10)
		if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "x" {
			t.Errorf("got %q, %v", b[:n], err)
		}
		_ = pc.Close()
	}
}

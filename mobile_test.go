package l3extract_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"testing"
	"time"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// What MOBILE.md shows, and the test that runs it.

// vpn is what a binding exports; the functions below are its methods there.
type vpn struct {
	packets chan []byte
	server  forward.Server
	cancel  context.CancelFunc
	done    chan error
}

func startFD(v *vpn, fd int) error { // from ParcelFileDescriptor.detachFd()
	device, err := tun.FromFD(fd, 1500) // the MTU that was given to VpnService.Builder
	if err != nil {
		return err
	}
	return serve(v, device)
}

// packetFlow is implemented in Swift, around NEPacketTunnelFlow.
type packetFlow interface{ WritePacket(p []byte) error }

func startFlow(v *vpn, flow packetFlow) error {
	ctx, cancel := context.WithCancel(context.Background())
	v.packets = make(chan []byte, 256)
	return serve(v, l3conn.Funcs{
		ReadFunc: func(b []byte) (int, error) {
			select {
			case p := <-v.packets:
				return copy(b, p), nil
			case <-ctx.Done():
				return 0, net.ErrClosed
			}
		},
		WriteFunc: func(p []byte) (int, error) { return len(p), flow.WritePacket(p) }, // p is ours again afterwards
		CloseFunc: func() error { cancel(); return nil },
	})
}

func packet(v *vpn, p []byte) { // called by Swift for each packet of readPackets
	select {
	case v.packets <- append([]byte(nil), p...): // the binding's memory is lent
	default: // full: lost, as IP packets are
	}
}

func serve(v *vpn, conn l3conn.Conn) error {
	debug.SetMemoryLimit(32 << 20) // of a process that may have 40 MiB; works harder instead of growing
	debug.SetGCPercent(50)
	s, err := stack.New(conn, stack.SmallConfig())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel, v.done = cancel, make(chan error, 1)
	go v.server.Serve(ctx, s)
	go func() { v.done <- s.Run(ctx) }()
	return nil
}

func stop(v *vpn) error {
	v.cancel()
	return <-v.done
}

// swift is a packetFlow whose device is a Stack.
type swift struct{ device *l3conn.PipeEnd }

func (s swift) WritePacket(p []byte) error {
	_, err := s.device.Write(p)
	return err
}

func TestMobile(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // answers one
		if c, err := listener.Accept(); err == nil {
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	v := &vpn{server: forward.Server{Route: func(context.Context, outbound.Flow) (forward.Target, error) {
		return forward.Target{Addr: listener.Addr().(*net.TCPAddr).AddrPort(), Trusted: true}, nil
	}}}
	far, near := l3conn.Pipe(0, 0)
	if err := startFlow(v, swift{far}); err != nil {
		t.Fatal(err)
	}
	swiftDone := make(chan struct{})
	go func() { // as readPackets does; ends with the pipe
		defer close(swiftDone)
		buf := make([]byte, 1500)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			packet(v, buf[:n])
		}
	}()
	device, err := stack.New(near, &stack.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- device.Run(ctx) }()
	c, err := device.DialContext(ctx, "tcp", "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.Close()
	if err := stop(v); err != context.Canceled {
		t.Error(err)
	}
	_ = device.Close()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	_ = far.Close()
	<-swiftDone
	if err := startFD(v, -1); err == nil {
		t.Error("started on no descriptor")
	}
}

package realproxy

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Echo listens on address, whose port may be 0, and sends back what comes, until the
// test ends. It skips if this host has no such address.
func Echo(t testing.TB, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", address, err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		wg.Wait()
	})
	return l.Addr().String()
}

// EchoUDP sends datagrams back.
func EchoUDP(t testing.TB, address string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", address, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	})
	t.Cleanup(func() {
		_ = pc.Close()
		wg.Wait()
	})
	return pc.LocalAddr().String()
}

// Closed returns an address of 127.0.0.1 where nobody listens.
func Closed(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + freePort(t)
}

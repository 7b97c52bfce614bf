package bench

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// BenchmarkTUN moves 64 KiB per operation between a socket of the kernel and a
// Stack, through a TUN in a network namespace: up is from the kernel to the Stack.
// It needs root.
func BenchmarkTUN(b *testing.B) {
	for _, offload := range []bool{true, false} {
		for _, up := range []bool{true, false} {
			for _, streams := range []int{1, 8} {
				b.Run(fmt.Sprintf("offload=%v/up=%v/streams=%d", offload, up, streams), func(b *testing.B) {
					bulk(b, kernel(b, &tun.Config{NoOffload: !offload}, up), streams, false)
				})
			}
		}
	}
}

// kernel is a Stack behind a TUN whose other end is the kernel's, in a namespace that
// goes with the benchmark. The Stack accepts what the kernel dials; unless up the
// ends are swapped.
func kernel(b *testing.B, c *tun.Config, up bool) world {
	b.Helper()
	c.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}
	asked, dialled := make(chan netip.AddrPort), make(chan net.Conn)
	opened := make(chan *tun.Device)
	var failed error
	go func() { // ends with asked; its thread, which is in the namespace, ends with it
		defer close(dialled)
		runtime.LockOSThread()
		if failed = unix.Unshare(unix.CLONE_NEWNET); failed != nil {
			close(opened)
			return
		}
		dev, err := tun.Open(c)
		if failed = err; failed != nil {
			close(opened)
			return
		}
		opened <- dev
		for to := range asked {
			conn, err := net.DialTimeout("tcp", to.String(), 20*time.Second)
			if err != nil {
				failed = err
				return
			}
			dialled <- conn
		}
	}()
	dev := <-opened
	if dev == nil {
		b.Skip("no TUN in a namespace: ", failed)
	}
	b.Cleanup(func() {
		close(asked)
		<-dialled
		_ = dev.Close()
	})
	// The address that the kernel reaches through the TUN is nobody's.
	server := run(b, dev, stack.Config{}, nil)
	streams := server.TCP().Streams()
	w := world{
		dial: func(netip.AddrPort) (net.Conn, error) {
			asked <- netip.MustParseAddrPort("10.0.0.1:80")
			if conn := <-dialled; conn != nil {
				return conn, nil
			}
			return nil, failed
		},
		accept: func() (net.Conn, error) {
			st, ok := <-streams
			if !ok {
				return nil, net.ErrClosed
			}
			return st, nil
		},
	}
	if up {
		return w
	}
	var last net.Conn
	return world{
		dial: func(to netip.AddrPort) (net.Conn, error) {
			conn, err := w.dial(to)
			if err != nil {
				return nil, err
			}
			last = conn
			return w.accept()
		},
		accept: func() (net.Conn, error) { return last, nil },
	}
}

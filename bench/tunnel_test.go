package bench

import (
	"fmt"
	"net"
	"testing"

	"l3extract/l3conn"
	"l3extract/l3conn/datagram"
	"l3extract/l3conn/framed"
	"l3extract/stack"
)

// BenchmarkTunnel moves 64 KiB per operation between two Stacks over a TCP connection of
// the loopback that carries frames, and over UDP. Run it in one go with BenchmarkTUN, beside which it
// has a second Stack to pay for instead of the kernel's TCP, and the carrier's own.
func BenchmarkTunnel(b *testing.B) {
	for _, streams := range []int{1, 8} {
		b.Run(fmt.Sprintf("datagram/mtu=1500/streams=%d", streams), func(b *testing.B) {
			bulk(b, ours(b, func() (x, y l3conn.Conn) { return datagramPair(b) }, stack.Config{}), streams, false)
		})
	}
	for _, mtu := range []int{1500, framed.MaxMTU} {
		for _, streams := range []int{1, 8} {
			b.Run(fmt.Sprintf("framed/mtu=%d/streams=%d", mtu, streams), func(b *testing.B) {
				bulk(b, ours(b, func() (x, y l3conn.Conn) { return framedPair(b, mtu) }, stack.Config{MTU: mtu}), streams, false)
			})
		}
	}
}

// datagramPair is two ends of a UDP socket each on the loopback.
func datagramPair(b *testing.B) (x, y l3conn.Conn) {
	b.Helper()
	accepted, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	dialled, err := net.DialUDP("udp", nil, accepted.LocalAddr().(*net.UDPAddr))
	if err != nil {
		b.Fatal(err)
	}
	far, err := datagram.New(accepted, &datagram.Config{Peer: dialled.LocalAddr(), MTU: 1500})
	if err != nil {
		b.Fatal(err)
	}
	near, err := datagram.NewConnected(dialled, &datagram.Config{MTU: 1500})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

// framedPair is two ends of frames over TCP.
func framedPair(b *testing.B, mtu int) (x, y l3conn.Conn) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	var ends [2]l3conn.Conn
	for i, stream := range []net.Conn{dialled, accepted} {
		end, err := framed.New(stream, &framed.Config{MTU: mtu})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { end.Close() })
		ends[i] = end
	}
	return ends[0], ends[1]
}

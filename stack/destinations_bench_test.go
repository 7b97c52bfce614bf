package stack

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"l3extract/internal/packet"
	"l3extract/tcp"
)

// BenchmarkDestinations shows that a handshake and the way of a segment to Read cost
// the same whether 1 or 10 000 streams to as many destinations
// are open. The engine by itself searches all addresses in use for each packet and
// each route. The metric "x" is the ratio to one destination.
func BenchmarkDestinations(b *testing.B) {
	for _, family := range []string{"IPv4", "IPv6"} {
		one := make(map[string]float64)
		for _, n := range []int{1, 100, 10_000} {
			w := &wire{closed: make(chan struct{}), known: make(map[netip.AddrPort]*peer)}
			s, err := New(w, &Config{MemoryLimit: -1, TCP: tcp.Config{AcceptQueue: 1 << 16, MaxHandshakesPerSource: -1, MaxHandshakesPerDestination: -1}})
			if err != nil {
				b.Fatal(err)
			}
			streams := s.TCP().Streams()
			var app sync.WaitGroup
			app.Go(func() { _ = s.Run(background) }) // ends by Close
			<-s.started
			client, server := netip.MustParseAddr("192.0.2.9"), func(i int) netip.Addr {
				return netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)})
			}
			if family == "IPv6" {
				client, server = netip.MustParseAddr("2001:db8:1::9"), func(i int) netip.Addr {
					return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
				}
			}
			next := 0
			open := func() (from, to netip.AddrPort) {
				next++
				from = netip.AddrPortFrom(client, uint16(1024+next%60000))
				to = netip.AddrPortFrom(server(next), 80)
				connectFuzz(b, s, w, from, to)
				return from, to
			}
			probe, to := open()
			read := <-streams
			app.Go(func() { // ends with s
				for range streams { // the others only have to be there
				}
			})
			for range n - 1 {
				open()
			}
			measure := func(name string, op func()) {
				b.Run(fmt.Sprintf("%s/%s/%d", family, name, n), func(b *testing.B) {
					for b.Loop() {
						op()
					}
					ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
					if n == 1 {
						one[name] = ns
					}
					if one[name] > 0 {
						b.ReportMetric(ns/one[name], "x")
					}
				})
			}
			seq, buf := uint32(fuzzISN), make([]byte, 1)
			measure("segment", func() {
				h := packet.TCPHeader{Src: probe, Dst: to, Seq: seq, Ack: w.state(probe).next, Flags: packet.ACK | packet.PSH, Window: 65535,
					Options: []byte{1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1}}
				s.deliver(inbound(packet.AppendTCP(nil, h, []byte("x"))))
				seq++
				if _, err := read.Read(buf); err != nil {
					b.Fatal(err)
				}
			})
			measure("handshake", func() {
				from, to := open()
				st := w.state(from)
				h := packet.TCPHeader{Src: from, Dst: to, Seq: fuzzISN, Ack: st.next, Flags: packet.RST | packet.ACK}
				s.deliver(inbound(packet.AppendTCP(nil, h, nil)))
				w.mu.Lock()
				delete(w.known, from)
				w.mu.Unlock()
			})
			_ = s.Close()
			app.Wait()
		}
	}
}

package tun

import (
	"fmt"
	"net/netip"
	"testing"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// BenchmarkWrite writes packets in three parts, as the engine's are, to an address
// that the kernel has no use for, so that little more than the call is measured.
func BenchmarkWrite(b *testing.B) {
	dev := mustOpen(b, Config{Addrs: prefixes("10.25.0.1/24")})
	o := l3conn.Probe(dev).Offloader
	for _, payload := range []int{1, 512, 1448, 4000, 16000, 60000} {
		b.Run(fmt.Sprint(payload), func(b *testing.B) {
			p := packet.AppendTCP(nil, packet.TCPHeader{
				Src: netip.MustParseAddrPort("10.25.0.2:1000"), Dst: netip.MustParseAddrPort("198.51.100.1:80"),
				Flags: packet.ACK, Options: make([]byte, 12),
			}, make([]byte, payload))
			s := l3conn.Segment{Parts: [][]byte{p}, PayloadSize: 1448, Kind: l3conn.SegmentTCP4}
			if err := s.Describe(len(p)); err != nil {
				b.Fatal(err)
			}
			if payload <= 1448 {
				s.Kind, s.HeaderSize, s.PayloadSize = l3conn.SegmentNone, 0, 0
			}
			s.Parts = [][]byte{p[:20], p[20:52], p[52:]}
			segs := []l3conn.Segment{s}
			b.ReportAllocs()
			for b.Loop() {
				if n, err := o.WriteSegments(segs); n != 1 {
					b.Fatal(err)
				}
			}
		})
	}
}

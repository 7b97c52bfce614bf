package bench

import (
	"fmt"
	"testing"

	gchecksum "gvisor.dev/gvisor/pkg/tcpip/checksum"

	"l3extract/internal/packet"
)

// BenchmarkChecksum sums one packet, with our code and with the engine's.
func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{40, 576, 1448, 65483} {
		data := make([]byte, n)
		for _, v := range []struct {
			name string
			sum  func()
		}{
			{"ours", func() { packet.Checksum(data, 0) }},
			{"gvisor", func() { gchecksum.Checksum(data, 0) }},
		} {
			b.Run(fmt.Sprintf("bytes=%d/%s", n, v.name), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					v.sum()
				}
			})
		}
	}
}

package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

// TestUDPHeaders: headers and payload that are put together are the datagram that
// AppendUDP builds, whatever lay in the memory before.
func TestUDPHeaders(t *testing.T) {
	for _, ends := range [][2]string{
		{"192.0.2.1:53", "10.0.0.2:40000"}, {"[2001:db8::1]:53", "[fd00::2]:40000"},
	} {
		src, dst := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		for _, size := range []int{0, 1, 2, 1199, 1200, 65507} {
			payload := bytes.Repeat([]byte{0xff, 0x01, 0x80}, size/3+1)[:size]
			var head [MaxUDPHeaders]byte
			for i := range head {
				head[i] = 0xaa
			}
			n, start := PutUDPHeaders(&head, src, dst, 64, 3, 0, size)
			FinishUDP(head[start:n], payload)
			got := append(head[:n:n], payload...)
			if want := AppendUDP(nil, src, dst, 64, 3, payload); !bytes.Equal(got, want) {
				t.Errorf("%v, %d bytes: % x, want % x", ends, size, got[:n], want[:min(n, len(want))])
			}
		}
		// A payload that sums up to 0 with its headers has a checksum all the same.
		for i := range 1 << 16 {
			var head [MaxUDPHeaders]byte
			payload := []byte{byte(i >> 8), byte(i)}
			n, start := PutUDPHeaders(&head, src, dst, 64, 0, 0, 2)
			FinishUDP(head[start:n], payload)
			if head[start+6] == 0 && head[start+7] == 0 {
				t.Fatalf("%v, payload % x: no checksum", ends, payload)
			}
		}
	}
	var head [MaxUDPHeaders]byte
	a4, a6 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	for _, tc := range []struct {
		src, dst netip.AddrPort
		size     int
	}{{a4, a6, 1}, {a6, a4, 1}, {a4, a4, 65508}, {a6, a6, 65528}, {netip.AddrPort{}, a4, 1}} {
		if n, _ := PutUDPHeaders(&head, tc.src, tc.dst, 1, 0, 0, tc.size); n != 0 {
			t.Errorf("%v to %v, %d bytes: headers of %d bytes", tc.src, tc.dst, tc.size, n)
		}
	}
}

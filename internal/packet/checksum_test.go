package packet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/quick"

	"l3extract/internal/drop"
)

// naive is the sum as RFC 1071 words it, one 16-bit word after the other.
func naive(b []byte, initial uint32) uint16 {
	s := uint64(initial)
	for i := 0; i+1 < len(b); i += 2 {
		s += uint64(b[i])<<8 | uint64(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint64(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestChecksumKnown(t *testing.T) {
	tests := []struct {
		name string
		data string
		want uint16
	}{
		{"nothing", "", 0},
		{"one byte", "ab", 0xab00},
		{"RFC 1071 section 3", "0001 f203 f4f5 f6f7", 0xddf2},
		{"whole IPv4 header", "4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7", 0xffff},
		{"zeros", "0000 0000 0000 0000 0000", 0},
		{"carry through every word", "ffff ffff ffff ffff ffff ffff ffff ffff 0001", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(tt.data)
			if got := Checksum(b, 0); got != tt.want {
				t.Errorf("Checksum = %#04x, want %#04x", got, tt.want)
			}
			if got := naive(b, 0); got != tt.want {
				t.Errorf("naive = %#04x, want %#04x", got, tt.want)
			}
		})
	}
}

func TestChecksumEqualsNaive(t *testing.T) {
	equal := func(b []byte, initial uint32) bool { return Checksum(b, initial) == naive(b, initial) }
	if err := quick.Check(equal, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	// Every length around the strides, and bytes that carry most.
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		b := make([]byte, n)
		for i := range b {
			b[i] = 0xff
		}
		if !equal(b, 0xffffffff) {
			t.Fatalf("%d bytes of ff: %#04x, want %#04x", n, Checksum(b, 0xffffffff), naive(b, 0xffffffff))
		}
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if !equal(b, rng.Uint32()) {
			t.Fatalf("%d bytes differ from naive", n)
		}
	}
}

func TestChecksumChains(t *testing.T) {
	b := []byte("an odd number of bytes in all, cut where it is even")
	for cut := 0; cut < len(b); cut += 2 {
		if got, want := Checksum(b[cut:], uint32(Checksum(b[:cut], 0))), Checksum(b, 0); got != want {
			t.Errorf("cut at %d: %#04x, want %#04x", cut, got, want)
		}
	}
}

func TestPseudoHeader(t *testing.T) {
	a, b := netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("10.9.8.7")
	want := naive(unhex("c0a80001 0a090807 0011 1234"), 0)
	if got := Checksum(nil, PseudoHeader(a, b, UDP, 0x1234)); got != want {
		t.Errorf("IPv4: %#04x, want %#04x", got, want)
	}
	a, b = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00:ffff::ffff")
	want = naive(unhex("20010db8000000000000000000000001 fd00ffff00000000000000000000ffff 00012345 0000003a"), 0)
	if got := Checksum(nil, PseudoHeader(a, b, ICMPv6, 0x12345)); got != want {
		t.Errorf("IPv6: %#04x, want %#04x", got, want)
	}
}

func TestChecksumOK(t *testing.T) {
	for _, version := range []int{4, 6} {
		for name, pkt := range map[string][]byte{
			"udp":       udpPacket(version, "odd"),
			"udp empty": udpPacket(version, ""),
			"tcp":       tcpPacket(version, SYN, ""),
			"tcp data":  tcpPacket(version, ACK, "some data"),
			"echo":      echoPacket(version, "ping!"),
		} {
			t.Run(fmt.Sprint(name, version), func(t *testing.T) {
				mustBeRight(t, pkt)
				for i := 8; i < len(pkt); i++ { // an IPv6 header sums up from its addresses on
					var p Packet
					if c := p.Decode(patch(pkt, i, pkt[i]^0x10)); c == drop.None && p.ChecksumOK() {
						t.Errorf("a changed byte %d went unseen", i)
					}
				}
			})
		}
	}
}

func TestChecksumOKWithout(t *testing.T) {
	p := mustDecode(t, patch(udpPacket(4, "no sum"), v4HeaderLen+6, 0, 0))
	if !p.ChecksumOK() {
		t.Error("IPv4 UDP without a checksum was refused")
	}
	// Padding inside the IP packet, behind the UDP length, is not summed up.
	b := udpPacket(4, "x")
	p = mustDecode(t, resize4(append(b, 1, 2, 3), len(b)+3))
	if !p.ChecksumOK() || string(p.Payload) != "x" {
		t.Errorf("UDP with bytes behind its length: payload %q, ok %v", p.Payload, p.ChecksumOK())
	}
	// A fragment can vouch for its IPv4 header only.
	p = mustDecode(t, frag4(udpPacket(4, "12345678"), 8, true))
	if !p.ChecksumOK() {
		t.Error("a fragment was refused for a transport checksum it does not have")
	}
	p.Raw[8]++
	if p.ChecksumOK() {
		t.Error("the header checksum of a fragment was not verified")
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add([]byte(nil), uint32(0))
	f.Add([]byte{0xff}, uint32(0xffffffff))
	f.Add([]byte("sixty-four bytes and some more, so that each stride is used once."), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, initial uint32) {
		if got, want := Checksum(b, initial), naive(b, initial); got != want {
			t.Errorf("Checksum = %#04x, want %#04x", got, want)
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 40, 64, 576, 1460, 65483} {
		data := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Checksum(data, 0)
			}
		})
	}
}

func BenchmarkChecksumNaive(b *testing.B) {
	data := make([]byte, 1460)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		naive(data, 0)
	}
}

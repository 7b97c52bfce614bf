package checksum

import (
	"math/rand/v2"
	"testing"
)

// plain is the sum as RFC 1071 describes it.
func plain(b []byte) uint16 {
	var s uint32
	for i, x := range b {
		s += uint32(x) << (8 * (1 - i%2))
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// same reports whether two sums are the same number: zero has two forms.
func same(a, b uint16) bool { return a == b || a%0xffff == 0 && b%0xffff == 0 }

// TestSum: every length up to some blocks, at every offset of a word.
func TestSum(t *testing.T) {
	b := make([]byte, 300)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	for at := range 8 {
		for end := at; end <= len(b); end++ {
			if got, want := Sum(b[at:end]), plain(b[at:end]); !same(got, want) {
				t.Fatalf("%d bytes at %d: %#04x, want %#04x", end-at, at, got, want)
			}
		}
	}
	full := make([]byte, 64<<10)
	for i := range full {
		full[i] = 0xff
	}
	if got := Sum(full); !same(got, 0) {
		t.Errorf("carries of all ones: %#04x", got)
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 20}, 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if !same(Sum(b), plain(b)) {
			t.Errorf("%x: %#04x, want %#04x", b, Sum(b), plain(b))
		}
		if cut < 0 || cut > len(b) || cut%2 != 0 {
			return
		}
		if parts := Fold(uint64(Sum(b[:cut])) + uint64(Sum(b[cut:]))); !same(parts, Sum(b)) {
			t.Errorf("%x cut at %d: %#04x, want %#04x", b, cut, parts, Sum(b))
		}
	})
}

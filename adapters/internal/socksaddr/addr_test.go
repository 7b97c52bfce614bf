package socksaddr

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"l3extract/adapters/outbound"
)

func TestSplit(t *testing.T) {
	long := strings.Repeat("x", MaxName)
	for _, tc := range []struct {
		in   string
		want string // "": an error
		hex  []byte
	}{
		{"192.0.2.1:80", "192.0.2.1:80", []byte{1, 192, 0, 2, 1, 0, 80}},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80", []byte{1, 192, 0, 2, 1, 0, 80}},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535", []byte{4, 0x20, 1, 0xd, 0xb8, 11: 0, 16: 1, 17: 255, 18: 255}},
		{"a.example:1", "a.example:1", []byte("\x03\x09a.example\x00\x01")},
		{long + ":1", long + ":1", []byte("\x03\xff" + long + "\x00\x01")},
		{long + "x:1", "", nil},
		{":1", "", nil},
		{"a.example", "", nil},
		{"a.example:http", "", nil},
		{"a.example:65536", "", nil},
		{"a.example:-1", "", nil},
		{"[fe80::1%eth0]:1", "", nil},
	} {
		a, err := Split(tc.in)
		if (err == nil) != (tc.want != "") {
			t.Errorf("%.40q: %v, %v", tc.in, a, err)
			continue
		}
		if err != nil {
			continue
		}
		if a.String() != tc.want || !bytes.Equal(a.Append(nil), tc.hex) {
			t.Errorf("%.40q is %q, % x", tc.in, a, a.Append(nil))
		}
		if n, err := Len(tc.hex[0], tc.hex[1]); n != len(tc.hex) || err != nil {
			t.Errorf("%.40q: Len is %d, %v", tc.in, n, err)
		}
	}
}

func TestOf(t *testing.T) {
	ap := netip.MustParseAddrPort("[2001:db8::1]:53")
	for _, tc := range []struct {
		in   net.Addr
		want string
	}{
		{net.UDPAddrFromAddrPort(ap), "[2001:db8::1]:53"},
		{net.TCPAddrFromAddrPort(ap), "[2001:db8::1]:53"},
		{outbound.Name{Host: "a.example", Port: 53}, "a.example:53"},
		{outbound.Name{Port: 53}, ""},
		{&net.UnixAddr{Name: "b.example:7"}, "b.example:7"},
		{&net.UnixAddr{Name: "nonsense"}, ""},
		{&net.UDPAddr{}, ""},
		{nil, ""},
	} {
		a, err := Of(tc.in)
		if (err == nil) != (tc.want != "") || err == nil && a.String() != tc.want {
			t.Errorf("%v: %v, %v, want %q", tc.in, a, err, tc.want)
		}
	}
	if got := (Addr{IP: ap.Addr(), Port: 53}).NetAddr(); got.String() != ap.String() {
		t.Errorf("NetAddr of an address: %v", got)
	}
	if got := (Addr{Name: "x", Port: 1}).NetAddr(); got != net.Addr(outbound.Name{Host: "x", Port: 1}) {
		t.Errorf("NetAddr of a name: %v", got)
	}
}

// FuzzParse: an address or an error; an address has the length that Len says and is
// encoded as it was, unless it is IPv4 in IPv6.
func FuzzParse(f *testing.F) {
	f.Add([]byte{1, 192, 0, 2, 1, 0, 80})
	f.Add([]byte("\x03\x09a.example\x00\x01"))
	f.Add([]byte{4, 0x20, 1, 0xd, 0xb8, 11: 0, 16: 1, 17: 255, 18: 255})
	f.Add([]byte{3, 0, 0, 0})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, n, err := Parse(b)
		if err != nil {
			if n != 0 || a != (Addr{}) {
				t.Errorf("an error and %v, %d", a, n)
			}
			return
		}
		if want, _ := Len(b[0], b[1]); n != want || n > MaxLen {
			t.Errorf("length %d, want %d", n, want)
		}
		if b[0] == typeIPv6 && a.IP.Is4() {
			return
		}
		if got := a.Append(nil); !bytes.Equal(got, b[:n]) {
			t.Errorf("% x was % x", got, b[:n])
		}
	})
}

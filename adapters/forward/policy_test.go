package forward

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"l3extract/stack"
)

// TestPolicyTable: what each Policy says about every kind of address.
func TestPolicyTable(t *testing.T) {
	policies := map[string]*Policy{
		"zero":       {},
		"loopback":   {AllowLoopback: true},
		"link-local": {AllowLinkLocal: true},
		"public":     {DenyPrivate: true},
		"lists": {
			Deny: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("::ffff:198.51.100.0/120")},
			Allow: []netip.Prefix{
				netip.MustParsePrefix("127.0.0.53/32"), netip.MustParsePrefix("203.0.113.9/32"),
				netip.MustParsePrefix("10.9.0.1/32"), netip.MustParsePrefix("224.0.0.0/4"),
			},
		},
	}
	own := map[netip.Addr]bool{netip.MustParseAddr("10.9.0.1"): true, netip.MustParseAddr("fd99::1"): true}
	for _, tc := range []struct {
		addr    string
		allowed string // by these policies
	}{
		{"93.184.215.14", "zero loopback link-local public lists"},
		{"2606:2800:21f::1", "zero loopback link-local public lists"},
		{"::ffff:93.184.215.14", "zero loopback link-local public lists"},

		{"127.0.0.1", "loopback"},
		{"127.255.255.254", "loopback"},
		{"127.0.0.53", "loopback lists"},
		{"::1", "loopback"},
		{"::ffff:127.0.0.1", "loopback"},
		{"::127.0.0.1", "loopback"},
		{"64:ff9b::127.0.0.1", "loopback"},
		{"64:ff9b:1::127.0.0.1", "loopback"},
		{"64:ff9b:1:7f00:0:100::", "loopback"},
		{"::ffff:0:127.0.0.1", "loopback"},
		{"2002:7f00:1::1", "loopback"},
		{"2001::1", ""},                             // Teredo of 0.0.0.0
		{"2001:0:5db8:d70e::80ff:fffe", "loopback"}, // Teredo of 127.0.0.1
		{"2001:0:7f00:1::a247:28f1", "loopback"},    // Teredo by way of 127.0.0.1

		{"0.0.0.0", ""},
		{"0.1.2.3", ""},
		{"::", ""},
		{"::ffff:0.0.0.0", ""},
		{"64:ff9b::0.0.0.0", ""},
		{"2002::1", ""},

		{"169.254.169.254", "link-local"},
		{"fe80::1", "link-local"},
		{"fe80::1%eth0", "link-local"},
		{"::ffff:169.254.169.254", "link-local"},
		{"64:ff9b::169.254.169.254", "link-local"},
		{"2002:a9fe:a9fe::1", "link-local"},
		{"fd00:ec2::254", "link-local"},
		{"100.100.100.200", "link-local"},

		{"224.0.0.251", ""},
		{"239.255.255.250", ""},
		{"ff02::fb", ""},
		{"255.255.255.255", ""},
		{"64:ff9b::224.0.0.1", ""},

		{"10.0.0.1", "zero loopback link-local lists"},
		{"172.16.0.1", "zero loopback link-local lists"},
		{"192.168.1.1", "zero loopback link-local lists"},
		{"100.64.0.1", "zero loopback link-local lists"},
		{"fd00::1", "zero loopback link-local lists"},
		{"fec0::1", "zero loopback link-local lists"},
		{"64:ff9b:1::8.8.8.8", "zero loopback link-local lists"},
		{"64:ff9b::10.0.0.1", "zero loopback link-local lists"},
		{"64:ff9b::8.8.8.8", "zero loopback link-local public lists"},
		{"2002:808:808::1", "zero loopback link-local public lists"},

		{"10.9.0.1", "lists"}, // the stack's own
		{"fd99::1", ""},
		{"::ffff:10.9.0.1", "lists"},
		{"64:ff9b::10.9.0.1", "lists"},

		{"203.0.113.1", "zero loopback link-local public"},
		{"203.0.113.9", "zero loopback link-local public lists"},
		{"198.51.100.1", "zero loopback link-local public"},
		{"64:ff9b::203.0.113.1", "zero loopback link-local public"},
	} {
		a := netip.MustParseAddr(tc.addr)
		for name, p := range policies {
			err := p.judge(a, own)
			want := slices.Contains(strings.Fields(tc.allowed), name)
			if (err == nil) != want {
				t.Errorf("%s: policy %s says %v", tc.addr, name, err)
			}
			var refused *PolicyError
			if err != nil && (!errors.As(err, &refused) || !errors.Is(err, stack.Policy) || !errors.Is(err, syscall.EACCES)) {
				t.Errorf("%s: %v is no PolicyError with its matches", tc.addr, err)
			}
		}
	}
	if (&Policy{}).Judge(netip.Addr{}) == nil {
		t.Error("no address at all is allowed")
	}
	if err := (&Policy{}).Judge(netip.MustParseAddr("10.9.0.1")); err != nil {
		t.Errorf("Judge knows of a stack: %v", err)
	}
}

// FuzzPolicy: whatever carries a refused IPv4 address is refused, and no address
// makes it panic.
func FuzzPolicy(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add([]byte{0x20, 0x02, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 169, 254, 169, 254})
	f.Add([]byte{127, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		var p Policy
		err := p.Judge(a)
		if mapped := netip.AddrFrom16(a.As16()); a.Is4() && (p.Judge(mapped) == nil) != (err == nil) {
			t.Errorf("%v and %v are judged differently", a, mapped)
		}
		if err != nil || a.Is4() || a.Is4In6() {
			return
		}
		for _, v4 := range embedded(a) {
			if err := p.Judge(v4); err != nil {
				t.Errorf("%v is allowed, but %v", a, err)
			}
		}
	})
}

package ether

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"l3extract/l3conn"
)

func TestWrongConfigs(t *testing.T) {
	prefix := func(s string) []netip.Prefix {
		var all []netip.Prefix
		for _, p := range strings.Fields(s) {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	ten := prefix("10.0.0.1/24")
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{MAC: broadcastMAC}, "Config.MAC ff:ff:ff:ff:ff:ff"},
		{Config{Addrs: prefix("10.0.0.0/24")}, "Config.Addrs 10.0.0.0/24"},
		{Config{Addrs: prefix("10.0.0.255/24")}, "Config.Addrs 10.0.0.255/24"},
		{Config{Addrs: prefix("10.0.0.1/31")}, "Config.Addrs 10.0.0.1/31"},
		{Config{Addrs: prefix("10.0.0.1/24 10.0.1.1/24")}, "Config.Addrs 10.0.1.1/24 is the second"},
		{Config{Addrs: prefix("224.0.0.1/24")}, "Config.Addrs 224.0.0.1/24"},
		{Config{Addrs: prefix("fe80::1/64")}, "Config.Addrs fe80::1/64"},
		{Config{Addrs: prefix("fd00::1/48")}, "Config.Addrs fd00::1/48"},
		{Config{Addrs: []netip.Prefix{{}}}, "Config.Addrs invalid"},
		{Config{MTU: 1279}, "Config.MTU 1279 is not within 1280"},
		{Config{MTU: 67, Addrs: ten}, "Config.MTU 67 is not within 68"},
		{Config{MTU: MaxMTU + 1}, "Config.MTU 65522"},
		{Config{Neighbours: 7}, "Config.Neighbours 7"},
		{Config{NeighbourAge: -1}, "Config.NeighbourAge -1ns"},
		{Config{DNS: []netip.Addr{netip.IPv4Unspecified()}}, "Config.DNS 0.0.0.0"},
		{Config{Domain: "-a.test"}, `Config.Domain "-a.test"`},
		{Config{Domain: strings.Repeat("a.", 126) + "aa"}, "Config.Domain"},
		{Config{RA: RAConfig{Lifetime: time.Second}}, "Config.RA.Lifetime 1s"},
		{Config{DHCP: DHCPConfig{LeaseTime: time.Second}}, "Config.DHCP.LeaseTime 1s"},
		{Config{DHCP: DHCPConfig{First: netip.MustParseAddr("10.0.0.2")}}, "Config.DHCP.First 10.0.0.2"},
		{Config{DHCP: DHCPConfig{Last: netip.MustParseAddr("192.168.127.255")}}, "Config.DHCP.Last 192.168.127.255"},
		{Config{Addrs: ten, DHCP: DHCPConfig{First: netip.MustParseAddr("10.0.0.9"), Last: netip.MustParseAddr("10.0.0.8")}}, "Config.DHCP.Last 10.0.0.8 is before"},
		{Config{DHCP: DHCPConfig{Fixed: map[MAC]netip.Addr{guestMAC: gate4}}}, "Config.DHCP.Fixed: 192.168.127.1"},
		{Config{DHCP: DHCPConfig{Fixed: map[MAC]netip.Addr{broadcastMAC: guest4}}}, "Config.DHCP.Fixed: ff:ff"},
		{Config{DHCP: DHCPConfig{Fixed: map[MAC]netip.Addr{guestMAC: guest4, otherMAC: guest4}}}, "192.168.127.7 for both"},
	} {
		x, y := l3conn.Pipe(0, maxFrame)
		_, err := New(x, &c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "ether: ") {
			t.Errorf("%v; want %q", err, c.want)
		}
		x.Close()
		y.Close()
	}
	x, y := l3conn.Pipe(0, 1500)
	if _, err := New(x, nil); err == nil || !strings.Contains(err.Error(), "Config.MTU 1500: the carrier has frames of at most 1500") {
		t.Errorf("a carrier of short frames: %v", err)
	}
	x.Close()
	y.Close()
	if _, err := New(nil, nil); err == nil {
		t.Error("no carrier is no error")
	}
	if _, err := New(l3conn.Funcs{}, nil); err == nil || !strings.Contains(err.Error(), "cannot be closed") {
		t.Errorf("a carrier that cannot be closed: %v", err)
	}
	if _, err := Datagram(nil, nil); err == nil || !strings.Contains(err.Error(), "peer") {
		t.Errorf("no peer: %v", err)
	}
	if _, err := ParseMAC("00:00:00:00:fe:80:00:00"); err == nil {
		t.Error("a MAC of 8 bytes")
	}
}

// TestOneFamily: without an address of a family its protocols are nobody's business.
func TestOneFamily(t *testing.T) {
	for _, c := range []struct {
		addr      string
		dhcp, ra  bool
		addresses int
	}{
		{"10.0.0.1/24", true, false, 1},
		{"fd00::1/64", false, true, 2},
	} {
		s := newSegment(t, &Config{Addrs: []netip.Prefix{netip.MustParsePrefix(c.addr)}})
		if s.conn.leases != nil != c.dhcp || s.conn.ra != nil != c.ra || len(s.conn.Addrs()) != c.addresses {
			t.Errorf("%s: %v %v %v", c.addr, s.conn.leases, s.conn.ra, s.conn.Addrs())
		}
	}
}

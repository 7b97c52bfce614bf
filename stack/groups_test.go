package stack

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// TestGroups: a Stack says what it is a member of, answers routers, hears what is sent
// to its groups and to no others, and says when it leaves.
func TestGroups(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	g4, g6 := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff05::1234")
	s := newStack(t, x, Config{Addrs: serverAddrs, Groups: []netip.Addr{g4, g6}})
	buf := make([]byte, 2000)
	_ = y.SetReadDeadline(time.Now().Add(30 * time.Second)) // against hanging only
	// until reads packets until those that are wanted have come, in any order.
	until := func(when string, kind byte, want ...netip.Addr) {
		t.Helper()
		for len(want) > 0 {
			n, err := y.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			p := hex.EncodeToString(buf[:n])
			for i, g := range want {
				if strings.HasSuffix(p, hex.EncodeToString(append([]byte{kind, 0, 0, 0}, g.AsSlice()...))) {
					want = append(want[:i:i], want[i+1:]...)
					break
				}
			}
		}
	}
	const joins, leaves, isMember = 4, 3, 2
	until("at the start", joins, g4, g6)
	until("within a second", joins, g4, g6)

	// An IGMPv3 query of 0.1 s from a router, with its alert.
	query, _ := hex.DecodeString("46c0002400000000010200000a0000fee000000194040000" + "1101000000000000027d0000")
	fix := func(at, from, to int) {
		sum := ^packet.Checksum(query[from:to], 0)
		query[at], query[at+1] = byte(sum>>8), byte(sum)
	}
	fix(10, 0, 24)
	fix(26, 24, 36)
	if _, err := y.Write(query); err != nil {
		t.Fatal(err)
	}
	until("asked", isMember, g4)

	pc, err := s.ListenPacket(t.Context(), "udp", ":5353")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	many := s.drops.Load(drop.Multicast)
	for _, d := range []struct{ from, to, say string }{
		{"10.0.0.9:1", "239.1.2.4:5353", "not ours"}, {"10.0.0.9:1", "239.1.2.3:5353", "four"},
		{"[fd00::9]:1", "[ff05::1235]:5353", "not ours"}, {"[fd00::9]:1", "[ff05::1234]:5353", "six"},
	} {
		b := packet.AppendUDP(nil, netip.MustParseAddrPort(d.from), netip.MustParseAddrPort(d.to), 64, 0, []byte(d.say))
		if _, err := y.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"four", "six"} {
		if n, _, err := pc.ReadFrom(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("heard %q, %v, want %q", buf[:n], err, want)
		}
	}
	if n := s.drops.Load(drop.Multicast) - many; n != 2 {
		t.Errorf("%d dropped as multicast, want 2", n)
	}
	_ = s.Close()
	until("at the end", leaves, g4, g6)
}

func TestGroupsConfig(t *testing.T) {
	var many []netip.Addr
	for i := range byte(61) {
		many = append(many, netip.AddrFrom4([4]byte{239, 0, 0, i}))
	}
	for want, groups := range map[string][]netip.Addr{
		"Config.Groups[0] is 10.0.0.1":  {netip.MustParseAddr("10.0.0.1")},
		"Config.Groups[0] is ff01::1":   {netip.MustParseAddr("ff01::1")},
		"Config.Groups[1]: 239.0.0.1":   {many[1], many[1]},
		"Config.Groups has 61":          many,
		"every host is in 224.0.0.1":    {netip.MustParseAddr("224.0.0.1")},
		"Config.Groups[0] is ff02::1%a": {netip.MustParseAddr("ff02::1%a")},
		"Config.Groups[0] is invalid":   {{}},
	} {
		x, _ := l3conn.Pipe(0, 1500)
		if _, err := New(x, &Config{Groups: groups}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

package group

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

var (
	g4a, g4b = netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("239.1.2.4")
	g6       = netip.MustParseAddr("ff05::1234")
)

// rig is a Member whose packets are kept, with what they say.
type rig struct {
	*Member
	said []string
}

func newRig(t *testing.T, groups ...netip.Addr) *rig {
	r := new(rig)
	r.Member = New(Config{
		Groups: groups, Own4: netip.MustParseAddr("10.0.0.9"), Own6: netip.MustParseAddr("2001:db8::9"),
		Send: func(b []byte) { r.said = append(r.said, reading(t, b)) }, Now: time.Now,
		AfterFunc: func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop },
		Uint32:    func() uint32 { return 1 << 31 }, // half
	})
	return r
}

// took returns what was said since the last call.
func (r *rig) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.said
	r.said = nil
	slices.Sort(s) // timers of one moment run in any order
	return s
}

// reading decodes a packet as a router would, and says what is in it.
func reading(t *testing.T, b []byte) string {
	t.Helper()
	var p packet.Packet
	if c := p.Decode(b); c != drop.None && c != drop.UnknownProtocol {
		t.Errorf("%x: %v", b, c)
	}
	if p.TTL != 1 || !p.Options {
		t.Errorf("%x: hops %d, router alert %v", b, p.TTL, p.Options)
	}
	if p.Version == 4 && packet.Checksum(p.Raw[:p.HeaderLen], 0) != 0xffff || p.Version == 4 && packet.Checksum(p.L4, 0) != 0xffff ||
		p.Version == 6 && !p.ChecksumOK() {
		t.Errorf("%x: checksum", b)
	}
	return p.Src.String() + " " + p.Dst.String() + " " + hex.EncodeToString(append([]byte{p.L4[0], p.L4[1]}, p.L4[4:]...))
}

func query4(max byte, more ...byte) *packet.Packet {
	m := append([]byte{igmpQuery, max, 0, 0, 0, 0, 0, 0}, more...)
	p := new(packet.Packet)
	b := igmp{netip.MustParseAddr("10.0.0.1")}.appendPacket(nil, netip.MustParseAddr("224.0.0.1"), m)
	p.Decode(b)
	return p
}

func query6(ms uint16, more ...byte) *packet.Packet {
	m := append([]byte{mldQuery, 0, 0, 0, byte(ms >> 8), byte(ms), 0, 0}, make([]byte, 16)...)
	p := new(packet.Packet)
	b := mld{netip.MustParseAddr("fe80::1")}.appendPacket(nil, netip.MustParseAddr("ff02::1"), append(m, more...))
	p.Decode(b)
	return p
}

const (
	joinBoth = "10.0.0.9 224.0.0.22 220000000002" + "04000000ef010203" + "04000000ef010204"
	haveBoth = "10.0.0.9 224.0.0.22 220000000002" + "02000000ef010203" + "02000000ef010204"
	quitBoth = "10.0.0.9 224.0.0.22 220000000002" + "03000000ef010203" + "03000000ef010204"
	group6   = "ff050000000000000000000000001234"
	join6    = "fe80::9 ff02::16 8f0000000001" + "04000000" + group6
	have6    = "fe80::9 ff02::16 8f0000000001" + "02000000" + group6
	quit6    = "fe80::9 ff02::16 8f0000000001" + "03000000" + group6
)

func want(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: said\n%q\nwant\n%q", when, got, want)
	}
}

func TestMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, g4a, g4b, g6)
		r.Join()
		want(t, "at once", r.took(), joinBoth, join6)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, "once more", r.took(), joinBoth, join6)
		time.Sleep(time.Hour)
		synctest.Wait()
		want(t, "then", r.took())

		if !r.HandlePacket(query4(100, 2, 125, 0, 0)) { // 10 s
			t.Error("a query was not taken")
		}
		time.Sleep(4900 * time.Millisecond)
		synctest.Wait()
		want(t, "before its time", r.took())
		r.HandlePacket(query4(100, 2, 125, 0, 0)) // again changes nothing
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		want(t, "asked", r.took(), haveBoth)
		r.HandlePacket(query6(1000, 2, 125, 0, 0))
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, "asked by MLD", r.took(), have6)

		r.HandlePacket(query4(100, 2, 125, 0, 0))
		r.Leave()
		r.Leave()
		want(t, "left", r.took(), quitBoth, quit6)
		r.HandlePacket(query4(100, 2, 125, 0, 0))
		r.Join()
		time.Sleep(time.Hour)
		synctest.Wait()
		want(t, "after all", r.took())
	})
}

// TestOldRouters: whoever asks in an older version is answered in it, for as long as
// he is about.
func TestOldRouters(t *testing.T) {
	for _, tc := range []struct {
		name        string
		query       *packet.Packet
		group       netip.Addr
		have, leave []string
		newest      string
	}{
		{"IGMPv2", query4(100), g4a, []string{"10.0.0.9 239.1.2.3 1600ef010203"}, []string{"10.0.0.9 224.0.0.2 1700ef010203"},
			"10.0.0.9 224.0.0.22 22000000000102000000ef010203"},
		{"IGMPv1", query4(0), g4a, []string{"10.0.0.9 239.1.2.3 1200ef010203"}, nil,
			"10.0.0.9 224.0.0.22 22000000000102000000ef010203"},
		{"MLDv1", query6(1000), g6, []string{"fe80::9 ff05::1234 830000000000" + group6}, []string{"fe80::9 ff02::2 840000000000" + group6}, have6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tc.group)
				if !r.HandlePacket(tc.query) {
					t.Fatal("not taken")
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				want(t, "asked", r.took(), tc.have...)
				newest := query4(10, 2, 125, 0, 0)
				if tc.group.Is6() {
					newest = query6(1000, 2, 125, 0, 0)
				}
				r.HandlePacket(newest)
				time.Sleep(time.Second)
				synctest.Wait()
				want(t, "asked by a newer one", r.took(), tc.have...)
				time.Sleep(oldQuerier)
				r.HandlePacket(newest)
				time.Sleep(time.Second)
				synctest.Wait()
				want(t, "the old one is gone", r.took(), tc.newest)
				r.HandlePacket(tc.query)
				r.Leave()
				want(t, "left", r.took(), tc.leave...)
			})
		})
	}
}

// TestQueriesByTheThousand are answered a few times.
func TestQueriesByTheThousand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, g4a)
		for range 1000 {
			r.HandlePacket(query4(1))
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if n := len(r.took()); n == 0 || n > 2 {
			t.Errorf("%d reports in a second", n)
		}
		r.Leave()
	})
}

// TestQueriesThatAreNone are not taken.
func TestQueriesThatAreNone(t *testing.T) {
	with := func(p *packet.Packet, f func(p *packet.Packet)) *packet.Packet { f(p); return p }
	for name, p := range map[string]*packet.Packet{
		"from afar":          with(query4(100), func(p *packet.Packet) { p.TTL = 2 }),
		"a piece":            with(query4(100), func(p *packet.Packet) { p.Fragment = true }),
		"a report":           with(query4(100), func(p *packet.Packet) { p.L4[0] = igmpReport2 }),
		"a wrong checksum":   with(query4(100), func(p *packet.Packet) { p.L4[3]++ }),
		"too short":          with(query4(100), func(p *packet.Packet) { p.L4 = p.L4[:7] }),
		"MLD too short":      with(query6(100), func(p *packet.Packet) { p.L4 = p.L4[:23] }),
		"MLD from elsewhere": with(query6(100), func(p *packet.Packet) { p.Src = netip.MustParseAddr("2001:db8::1") }),
	} {
		if newRig(t, g4a, g6).HandlePacket(p) {
			t.Errorf("%s was taken", name)
		}
	}
	if newRig(t, g4a).HandlePacket(query6(100)) {
		t.Error("MLD was taken by one with no group of IPv6")
	}
}

func TestCode(t *testing.T) {
	for _, tc := range []struct {
		v        uint32
		mantissa int
		want     uint32
	}{{127, 4, 127}, {128, 4, 128}, {0xff, 4, 31744}, {0x8f, 4, 248}, {32767, 12, 32767}, {32768, 12, 32768}, {0xffff, 12, 8387584}} {
		if got := code(tc.v, tc.mantissa); got != tc.want {
			t.Errorf("code(%#x, %d) = %d, want %d", tc.v, tc.mantissa, got, tc.want)
		}
	}
}

// FuzzQuery: nothing that a link can bring is worse than not understood.
func FuzzQuery(f *testing.F) {
	for _, p := range []*packet.Packet{query4(100), query4(0xff, 2, 125, 0, 0), query6(100), query6(0xffff, 2, 125, 0, 0)} {
		f.Add(p.Raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p packet.Packet
		if c := p.Decode(b); c != drop.None && c != drop.UnknownProtocol {
			return
		}
		m := New(Config{
			Groups: []netip.Addr{g4a, g6}, Send: func([]byte) {}, Now: time.Now, Uint32: func() uint32 { return 1<<32 - 1 },
			AfterFunc: func(d time.Duration, _ func()) func() bool {
				if d <= 0 || d > 8387585*time.Millisecond {
					t.Errorf("a report in %v", d)
				}
				return func() bool { return true }
			},
		})
		m.HandlePacket(&p)
	})
}

package ether

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"

	"l3extract/l3conn"
)

func arpBody(op uint16, sender MAC, src netip.Addr, target MAC, dst netip.Addr) []byte {
	c := &Conn{cfg: Config{MAC: sender}}
	return c.arpFrame(MAC{}, op, src, target, dst)[headerLen:]
}

// TestARP: who is told that an address is the gateway's.
func TestARP(t *testing.T) {
	nowhere := netip.IPv4Unspecified()
	out, silent := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("192.168.127.9")
	for _, c := range []struct {
		name     string
		proxy    bool
		src, dst netip.Addr
		answered bool
	}{
		{"the gateway", false, guest4, gate4, true},
		{"a probe for the gateway", false, nowhere, gate4, true},
		{"a host elsewhere", false, guest4, out, false},
		{"a host elsewhere, by proxy", true, guest4, out, true},
		{"a guest, by proxy", true, guest4, silent, false},
		{"a probe, by proxy", true, nowhere, out, false},
		{"itself, by proxy", true, guest4, guest4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSegment(t, &Config{Proxy: c.proxy})
			s.send(broadcastMAC, guestMAC, typeARP, arpBody(arpRequest, guestMAC, c.src, MAC{}, c.dst))
			if !c.answered {
				s.settle()
				return
			}
			want := append(appendHeader(nil, guestMAC, DefaultMAC, typeARP), arpBody(arpReply, DefaultMAC, c.dst, guestMAC, c.src)...)
			if got := s.frame(); !bytes.Equal(got, want) {
				t.Errorf("%x, want %x", got, want)
			}
		})
	}
}

// nd is a packet with a message of a guest's.
func nd(t *testing.T, src, dst netip.Addr, m ndp.Message) []byte {
	t.Helper()
	return (&Conn{}).icmp6(MAC{}, src, dst, m)[headerLen:]
}

// heard reads a message of the gateway's.
func heard(t *testing.T, f []byte) (to MAC, src, dst netip.Addr, m ndp.Message) {
	t.Helper()
	if len(f) < headerLen+header6 || f[12] != 0x86 || f[headerLen+7] != 255 {
		t.Fatalf("no neighbour discovery: %x", f)
	}
	m, err := ndp.ParseMessage(f[headerLen+header6:])
	if err != nil {
		t.Fatal(err)
	}
	return MAC(f), netip.AddrFrom16([16]byte(f[headerLen+8:])), netip.AddrFrom16([16]byte(f[headerLen+24:])), m
}

func TestNeighbourSolicitation(t *testing.T) {
	out, local := netip.MustParseAddr("2001:db8::1"), DefaultMAC.linkLocal()
	for _, c := range []struct {
		name              string
		proxy             bool
		src, target       netip.Addr
		answered, claimed bool
	}{
		{"the gateway", false, guest6, gate6, true, false},
		{"the gateway's link-local one", false, guestMAC.linkLocal(), local, true, false},
		{"duplicate of the gateway", false, unspecified, gate6, true, true},
		{"duplicate of a guest", true, unspecified, guest6, false, false},
		{"a host elsewhere", false, guest6, out, false, false},
		{"a host elsewhere, by proxy", true, guest6, out, true, false},
		{"a guest, by proxy", true, guest6, netip.MustParseAddr("fd6c:3365::99"), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSegment(t, &Config{Proxy: c.proxy})
			group, _ := ndp.SolicitedNodeMulticast(c.target)
			s.send(groupMAC(group), guestMAC, typeIPv6, nd(t, c.src, group, &ndp.NeighborSolicitation{TargetAddress: c.target}))
			if !c.answered {
				s.settle()
				return
			}
			to, src, dst, m := heard(t, s.frame())
			a, ok := m.(*ndp.NeighborAdvertisement)
			if !ok || a.TargetAddress != c.target || src != c.target || !a.Router ||
				!bytes.Equal(a.Options[0].(*ndp.LinkLayerAddress).Addr, DefaultMAC[:]) {
				t.Fatalf("%+v", m)
			}
			if c.claimed != (dst == allNodes) || c.claimed != (to == groupMAC(allNodes)) || a.Solicited == c.claimed {
				t.Errorf("to %v, %v: %+v", to, dst, a)
			}
			if got := s.conn.Stats().GatewayClaims; got != 0 != c.claimed {
				t.Errorf("%d claims", got)
			}
		})
	}
}

// TestRouterAdvertisement: what guests are told, when they ask and from time to time.
func TestRouterAdvertisement(t *testing.T) {
	cfg := &Config{Domain: "vm.test", MTU: 1400, DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("192.0.2.53")}}
	check := func(f []byte, wantMAC MAC, wantDst netip.Addr) {
		t.Helper()
		to, src, dst, m := heard(t, f)
		ra, ok := m.(*ndp.RouterAdvertisement)
		if !ok || to != wantMAC || dst != wantDst || src != DefaultMAC.linkLocal() || ra.RouterLifetime != DefaultLifetime {
			t.Fatalf("%v %v %v %+v", to, src, dst, m)
		}
		found := 0
		for _, o := range ra.Options {
			switch o := o.(type) {
			case *ndp.PrefixInformation:
				if o.Prefix == netip.MustParseAddr("fd6c:3365::") && o.PrefixLength == 64 && o.AutonomousAddressConfiguration && o.OnLink {
					found |= 1
				}
			case *ndp.MTU:
				if o.MTU == 1400 {
					found |= 2
				}
			case *ndp.RecursiveDNSServer:
				if len(o.Servers) == 1 && o.Servers[0] == cfg.DNS[0] {
					found |= 4
				}
			case *ndp.DNSSearchList:
				if len(o.DomainNames) == 1 && o.DomainNames[0] == "vm.test" {
					found |= 8
				}
			case *ndp.LinkLayerAddress:
				if bytes.Equal(o.Addr, net.HardwareAddr(DefaultMAC[:])) {
					found |= 16
				}
			}
		}
		if found != 31 {
			t.Errorf("options %b: %+v", found, ra.Options)
		}
	}
	s := newSegment(t, cfg)
	routers := netip.MustParseAddr("ff02::2")
	for _, c := range []struct{ src, dst netip.Addr }{{guestMAC.linkLocal(), guestMAC.linkLocal()}, {unspecified, allNodes}} {
		s.send(groupMAC(routers), guestMAC, typeIPv6, nd(t, c.src, routers, &ndp.RouterSolicitation{}))
		check(s.frame(), guestMAC, c.dst)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSegment(t, cfg)
		began := time.Now()
		_ = s.wire.SetReadDeadline(time.Time{})
		for range 3 {
			b := make([]byte, 1500)
			n, err := s.wire.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			check(b[:n], groupMAC(allNodes), allNodes)
		}
		if got := time.Since(began); got != DefaultLifetime {
			t.Errorf("three in %v", got)
		}
		s.close()
	})
}

// TestRogues: what only a gateway may say, and what is forged.
func TestRogues(t *testing.T) {
	s := newSegment(t, nil)
	local := guestMAC.linkLocal()
	ra := nd(t, local, allNodes, &ndp.RouterAdvertisement{})
	s.send(groupMAC(allNodes), guestMAC, typeIPv6, ra)
	redirected := packet6(local, DefaultMAC.linkLocal(), 80)
	redirected[6], redirected[7], redirected[40] = protoICMPv6, 255, redirect
	s.send(DefaultMAC, guestMAC, typeIPv6, redirected) // its checksum is wrong
	far := bytes.Clone(ra)
	far[7] = 64 // from beyond a router
	s.send(groupMAC(allNodes), guestMAC, typeIPv6, far)
	s.send(groupMAC(allNodes), guestMAC, typeIPv6, nd(t, local, allNodes, &ndp.NeighborAdvertisement{TargetAddress: guest6}))
	s.send(groupMAC(allNodes), otherMAC, typeIPv6, nd(t, otherMAC.linkLocal(), allNodes, &ndp.NeighborAdvertisement{TargetAddress: guest6}))
	s.send(groupMAC(allNodes), otherMAC, typeIPv6, nd(t, otherMAC.linkLocal(), allNodes, &ndp.NeighborAdvertisement{TargetAddress: gate6}))
	if _, src, _, _ := heard(t, s.frame()); src != gate6 {
		t.Errorf("%v is defended", src)
	}
	s.settle()
	if got := s.conn.Stats(); got.Rogue != 1 || got.Malformed != 2 || got.Spoofed != 1 || got.GatewayClaims != 1 {
		t.Errorf("counted as %+v", got)
	}
}

// TestAsking: a packet to a guest that nobody has heard of waits while it is asked for.
func TestAsking(t *testing.T) {
	for _, family := range []struct {
		name string
		p    []byte
		tell func(s *segment)
		asks func(f []byte) bool
	}{
		{"v4", packet4(gate4, guest4, 40), func(s *segment) {
			s.send(DefaultMAC, guestMAC, typeARP, arpBody(arpReply, guestMAC, guest4, DefaultMAC, gate4))
		}, func(f []byte) bool {
			return bytes.Equal(f, append(appendHeader(nil, broadcastMAC, DefaultMAC, typeARP), arpBody(arpRequest, DefaultMAC, gate4, MAC{}, guest4)...))
		}},
		{"v6", packet6(gate6, guest6, 40), func(s *segment) {
			s.send(DefaultMAC, guestMAC, typeIPv6, nd(t, guest6, DefaultMAC.linkLocal(), &ndp.NeighborAdvertisement{Solicited: true, TargetAddress: guest6}))
		}, func(f []byte) bool {
			_, src, dst, m := heard(t, f)
			ns, ok := m.(*ndp.NeighborSolicitation)
			return ok && ns.TargetAddress == guest6 && src == DefaultMAC.linkLocal() && dst == netip.MustParseAddr("ff02::1:ff00:7")
		}},
	} {
		t.Run(family.name, func(t *testing.T) {
			s := newSegment(t, nil)
			for range 3 { // one question, and the last packet waits
				if _, err := s.conn.Write(family.p); err != nil {
					t.Fatal(err)
				}
			}
			if f := s.frame(); !family.asks(f) {
				t.Fatalf("%x is no question", f)
			}
			family.tell(s)
			if f := s.frame(); MAC(f) != guestMAC || !bytes.Equal(f[headerLen:], family.p) {
				t.Errorf("%x", f)
			}
			if got := s.conn.Stats(); got.Asked != 1 || got.NoNeighbour != 2 {
				t.Errorf("%+v", got)
			}
		})
	}
	s := newSegment(t, nil)
	for i := range 2 * askSlots {
		if _, err := s.conn.Write(packet4(gate4, netip.AddrFrom4([4]byte{192, 168, 127, byte(2 + i)}), 40)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.conn.Stats(); got.Asked != askSlots || got.NoNeighbour != askSlots || len(s.conn.asking.slots) != askSlots {
		t.Errorf("a flood to nobody: %+v", got)
	}
}

// TestSlowCarrier: answers that find no room are counted, and a Read never waits for it.
func TestSlowCarrier(t *testing.T) {
	near, far := l3conn.Pipe(2, maxFrame)
	defer far.Close()
	conn, err := New(near, nil)
	if err != nil {
		t.Fatal(err)
	}
	question := append(appendHeader(nil, broadcastMAC, guestMAC, typeARP), arpBody(arpRequest, guestMAC, guest4, MAC{}, gate4)...)
	const asked = 3 * maxAnswers
	for range asked {
		conn.inbound(question, conn.now())
	}
	if got := conn.Stats(); got.ARP != asked || got.AnswersLost < asked-maxAnswers-2 {
		t.Errorf("%+v", got)
	}
	if err := conn.Close(); err != nil { // its goroutine waits for room
		t.Error(err)
	}
}

package ether

import (
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/ndp"

	"l3extract/l3conn"
)

// FuzzFrame throws frames at the gateway's door: what is handed on is a packet whose
// length is right and that fits the MTU, and each frame counts as one thing.
func FuzzFrame(f *testing.F) {
	discover, err := dhcpv4.NewDiscovery(guestMAC[:])
	if err != nil {
		f.Fatal(err)
	}
	guest := &Conn{cfg: Config{MAC: guestMAC}}
	any4, all4 := netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpClient), netip.AddrPortFrom(netip.MustParseAddr("255.255.255.255"), dhcpServer)
	f.Add(guest.udp4(broadcastMAC, any4, all4, discover.ToBytes()))
	f.Add(guest.arpFrame(broadcastMAC, arpRequest, guest4, MAC{}, gate4))
	group, _ := ndp.SolicitedNodeMulticast(gate6)
	f.Add(guest.icmp6(groupMAC(group), guest6, group, &ndp.NeighborSolicitation{TargetAddress: gate6}))
	f.Add(guest.icmp6(groupMAC(allNodes), unspecified, allNodes, &ndp.RouterSolicitation{}))
	f.Add(append(appendHeader(nil, DefaultMAC, guestMAC, typeIPv4), packet4(guest4, netip.MustParseAddr("8.8.8.8"), 30)...))
	f.Add(append(appendHeader(nil, DefaultMAC, guestMAC, typeIPv6), packet6(guest6, netip.MustParseAddr("2001:db8::1"), 60)...))
	f.Add(appendHeader(nil, DefaultMAC, guestMAC, 0x8100))
	var conns []*Conn
	for _, proxy := range []bool{false, true} {
		near, far := l3conn.Pipe(0, maxFrame)
		c, err := New(near, &Config{Proxy: proxy, Routed: proxy})
		if err != nil {
			f.Fatal(err)
		}
		done := make(chan struct{})
		go func() { // ends with near
			defer close(done)
			b := make([]byte, maxFrame)
			for {
				n, err := far.Read(b)
				if err != nil {
					return
				}
				if n < headerLen || MAC(b[6:]) != DefaultMAC {
					panic("a frame that is not the gateway's")
				}
			}
		}()
		f.Cleanup(func() {
			c.Close()
			far.Close()
			<-done
		})
		conns = append(conns, c)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, c := range conns {
			before := outcomes(c.Stats())
			p := c.inbound(frame, c.now())
			if p != nil {
				switch {
				case len(p) > c.MTU():
					t.Fatalf("%d bytes", len(p))
				case p[0]>>4 == 4 && len(p) >= header4 && int(p[2])<<8|int(p[3]) == len(p):
				case p[0]>>4 == 6 && len(p) >= header6 && int(p[4])<<8|int(p[5]) == len(p)-header6:
				default:
					t.Fatalf("handed on: %x", p)
				}
			}
			// A message may both be heard and say something wrong; what says nothing is handed on.
			if n := outcomes(c.Stats()) - before; p != nil && n != 0 || p == nil && n < 1 || n > 2 {
				t.Fatalf("%x counts %d times, handed on %v", frame, n, p != nil)
			}
		}
	})
}

// outcomes is how many frames were counted as something.
func outcomes(s Stats) uint64 {
	n := s.ARP + s.NDP + s.DHCP + s.Malformed + s.TooLong + s.OtherMAC + s.OwnMAC + s.VLAN + s.LLC +
		s.Foreign + s.Spoofed + s.GatewayClaims + s.Crowded + s.Rogue
	for _, k := range s.Unknown {
		n += k
	}
	return n
}

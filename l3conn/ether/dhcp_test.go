package ether

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// client is a guest that speaks DHCP.
type client struct {
	*segment
	mac MAC
}

// ask sends a message and returns the answer, nil if it is not to be answered.
func (c client) ask(answered bool, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	c.t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(c.mac[:]), dhcpv4.WithMessageType(kind)}, change...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	src := addr4(m.ClientIPAddr)
	dst := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	frame := (&Conn{cfg: Config{MAC: c.mac}}).udp4(broadcastMAC, netip.AddrPortFrom(src, dhcpClient), netip.AddrPortFrom(dst, dhcpServer), m.ToBytes())
	c.raw(frame)
	if !answered {
		return nil
	}
	f := c.frame()
	if len(f) < headerLen+28 || f[headerLen+9] != protoUDP || f[headerLen+21] != dhcpServer || f[headerLen+23] != dhcpClient {
		c.t.Fatalf("no DHCP: %x", f)
	}
	a, err := dhcpv4.FromBytes(f[headerLen+28:])
	if err != nil || a.TransactionID != m.TransactionID || MAC(a.ClientHWAddr) != c.mac {
		c.t.Fatalf("%v: %+v", err, a)
	}
	if to := MAC(f); to != c.mac && to != broadcastMAC {
		c.t.Fatalf("to %v", to)
	}
	return a
}

func (c client) want(a *dhcpv4.DHCPv4, kind dhcpv4.MessageType) netip.Addr {
	c.t.Helper()
	if a.MessageType() != kind || addr4(a.ServerIdentifier()) != gate4 && addr4(a.ServerIdentifier()) != netip.MustParseAddr("10.0.0.1") {
		c.t.Fatalf("want %v: %v", kind, a.Summary())
	}
	return addr4(a.YourIPAddr)
}

func wants(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

// get has the client take an address.
func (c client) get() netip.Addr {
	c.t.Helper()
	a := c.want(c.ask(true, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer)
	if got := c.want(c.ask(true, dhcpv4.MessageTypeRequest, wants(a)), dhcpv4.MessageTypeAck); got != a {
		c.t.Fatalf("offered %v and gave %v", a, got)
	}
	return a
}

// TestDHCP is the life of a lease: what the guest is told, that it keeps its address, and
// what it must not have.
func TestDHCP(t *testing.T) {
	var told []Lease
	s := newSegment(t, &Config{Domain: "vm.test", MTU: 1400, OnLease: func(l Lease) { told = append(told, l) }})
	c := client{s, guestMAC}
	host := dhcpv4.WithOption(dhcpv4.OptHostName("a\nb.c-d"))
	a := c.want(c.ask(true, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer)
	ack := c.ask(true, dhcpv4.MessageTypeRequest, wants(a), host)
	if got := c.want(ack, dhcpv4.MessageTypeAck); got != a || !netip.MustParsePrefix("192.168.127.0/24").Contains(a) || a == gate4 {
		t.Fatalf("offered %v, gave %v", a, got)
	}
	mtu, _ := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options)
	if ones, _ := ack.SubnetMask().Size(); ones != 24 || addr4(ack.Router()[0]) != gate4 || addr4(ack.DNS()[0]) != gate4 ||
		ack.DomainName() != "vm.test" || mtu != 1400 || ack.IPAddressLeaseTime(0) != DefaultLeaseTime {
		t.Errorf("%v", ack.Summary())
	}
	if got := c.get(); got != a { // after a restart
		t.Errorf("had %v, got %v", a, got)
	}
	renew := c.ask(true, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(a.AsSlice()))
	if got := c.want(renew, dhcpv4.MessageTypeAck); got != a {
		t.Errorf("had %v, renewed %v", a, got)
	}
	other := client{s, otherMAC}
	for _, wrong := range []netip.Addr{a, gate4, netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("192.168.127.255")} {
		other.want(other.ask(true, dhcpv4.MessageTypeRequest, wants(wrong)), dhcpv4.MessageTypeNak)
	}
	other.ask(false, dhcpv4.MessageTypeRequest, wants(a), dhcpv4.WithOption(dhcpv4.OptServerIdentifier([]byte{192, 168, 127, 99})))
	inform := c.ask(true, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(a.AsSlice()))
	if c.want(inform, dhcpv4.MessageTypeAck); inform.IPAddressLeaseTime(0) != 0 {
		t.Error("a lease for INFORM")
	}
	if l := s.conn.Leases(); len(l) != 1 || l[0].Addr != a || l[0].MAC != guestMAC {
		t.Errorf("%+v", l)
	}
	s.settle()
	if len(told) != 1 || told[0].Host != "ab.c-d" {
		t.Errorf("told of %+v", told)
	}

	// Another MAC in the message than on the frame; a relay; the address of a lease from elsewhere.
	m, _ := dhcpv4.New(dhcpv4.WithHwAddr(guestMAC[:]), dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease), dhcpv4.WithClientIP(a.AsSlice()))
	liar := &Conn{cfg: Config{MAC: otherMAC}}
	to := netip.AddrPortFrom(gate4, dhcpServer)
	s.raw(liar.udp4(DefaultMAC, netip.AddrPortFrom(a, dhcpClient), to, m.ToBytes()))
	s.raw(liar.udp4(DefaultMAC, netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpClient), to, []byte{1, 1, 6, 0}))
	s.send(DefaultMAC, otherMAC, typeIPv4, packet4(a, netip.MustParseAddr("203.0.113.1"), 40))
	s.settle()
	if got := s.conn.Stats(); got.Spoofed != 2 || got.Malformed != 1 || got.Naks != 4 {
		t.Errorf("%+v", got)
	}
	c.ask(false, dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(a.AsSlice()))
	s.settle()
	if l := s.conn.Leases(); len(l) != 0 {
		t.Errorf("after a release: %+v", l)
	}
}

// TestPool: addresses are given until there are none, and again when leases have ended or
// were refused.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fixed := MAC{2, 9, 9, 9, 9, 9}
		s := newSegment(t, &Config{
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
			DHCP: DHCPConfig{
				First: netip.MustParseAddr("10.0.0.1"), Last: netip.MustParseAddr("10.0.0.9"), LeaseTime: time.Hour,
				Fixed: map[MAC]netip.Addr{fixed: netip.MustParseAddr("10.0.0.4")},
			},
		})
		defer s.close()
		guest := func(i int) client { return client{s, MAC{2, 0, 0, 0, 0, byte(i + 1)}} }
		squat := func() { // somebody is there who has not asked
			s.send(DefaultMAC, otherMAC, typeIPv4, packet4(netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("203.0.113.1"), 40))
			s.packet()
		}
		squat()
		got := make(map[netip.Addr]int)
		for i := range 6 { // 1 is the gateway, 4 fixed, 5 taken
			got[guest(i).get()]++
		}
		if len(got) != 6 || got[netip.MustParseAddr("10.0.0.4")]+got[netip.MustParseAddr("10.0.0.5")]+got[netip.MustParseAddr("10.0.0.1")] > 0 {
			t.Fatalf("given: %v", got)
		}
		for range 3 {
			guest(7).ask(false, dhcpv4.MessageTypeDiscover)
		}
		if a := (client{s, fixed}).get(); a != netip.MustParseAddr("10.0.0.4") {
			t.Errorf("fixed: %v", a)
		}
		if n := s.conn.Stats().Exhausted; n != 3 {
			t.Errorf("%d times exhausted", n)
		}
		time.Sleep(30 * time.Minute)
		kept := guest(0).get() // renewed
		time.Sleep(31 * time.Minute)
		squat()
		a := guest(7).get()
		if got[a] != 1 || a == kept {
			t.Errorf("after the others' leases: %v", a)
		}
		// It finds that somebody else answers for it: the next one is another.
		guest(7).ask(false, dhcpv4.MessageTypeDecline, wants(a))
		if b := guest(7).get(); b == a {
			t.Errorf("%v again, although it was declined", a)
		}
	})
}

// TestFlood: guests without end fill the pool and no more, and cost no search each.
func TestFlood(t *testing.T) {
	s := newSegment(t, nil)
	l := s.conn.leases
	for i := range 5000 {
		m := MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		if a, ok := l.find(m, netip.Addr{}, 0); ok {
			l.hold(m, a, "", true, 0, time.Hour)
		}
	}
	if len(l.byAddr) != 253 || len(l.byMAC) != 253 || l.full == 0 {
		t.Errorf("%d addresses of %d guests, full until %v", len(l.byAddr), len(l.byMAC), l.full)
	}
}

// TestSameAddress: a guest has its address on every Conn of the same networks.
func TestSameAddress(t *testing.T) {
	var all [2]string
	for i := range all {
		s := newSegment(t, nil)
		for g := range 5 {
			all[i] += fmt.Sprint(client{s, MAC{2, 0, 0, 0, 7, byte(g)}}.get(), " ")
		}
	}
	if all[0] != all[1] {
		t.Errorf("%s, then %s", all[0], all[1])
	}
}

package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/stack"
	"l3extract/udp"
)

// stun is a server with a socket on two ports of each of two addresses: what RFC
// 5780 asks for to find out what a NAT does.
type stun struct {
	t       *testing.T
	sockets [2][2]*net.UDPConn // by address and port
}

// at returns the address of one of the sockets.
func (s *stun) at(addr, port int) netip.AddrPort {
	return s.sockets[addr][port].LocalAddr().(*net.UDPAddr).AddrPort()
}

// heard waits for a datagram on a socket and returns who sent it.
func (s *stun) heard(addr, port int) netip.AddrPort {
	s.t.Helper()
	c := s.sockets[addr][port]
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, from, err := c.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		s.t.Fatal(err)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

func (s *stun) say(addr, port int, to netip.AddrPort, what string) {
	s.t.Helper()
	if _, err := s.sockets[addr][port].WriteToUDPAddrPort([]byte(what), to); err != nil {
		s.t.Fatal(err)
	}
}

// TestMappingAndFiltering is the discovery of RFC 5780: a client behind the stack
// and servers on real addresses find out which address the client has for whom, and
// who may answer it. A forwarder's upstream sockets can be polled or not, and the
// behaviour is the same.
func TestMappingAndFiltering(t *testing.T) {
	type family struct {
		name   string
		addrs  [2]string
		client string
	}
	families := []family{
		{"v4", [2]string{"198.51.100.7", "198.51.100.8"}, "10.9.0.2"},
		{"v6", [2]string{"2001:db8::7", "2001:db8::8"}, "[fd99::2]"},
	}
	host, far := newNetns(t), newNetns(t)
	host.join(far, []string{"198.51.100.1/24", "2001:db8::1/64"}, []string{
		"198.51.100.7/24", "198.51.100.8/24", "2001:db8::7/64", "2001:db8::8/64",
	})
	for _, f := range families {
		s := &stun{t: t}
		for i, a := range f.addrs {
			for j := range s.sockets[i] {
				s.sockets[i][j] = far.udp(net.JoinHostPort(a, fmt.Sprint(3478+j)))
			}
		}
		for _, mapping := range []udp.Mapping{udp.PerSource, udp.PerFlow} {
			for _, filtering := range []udp.Filtering{
				udp.EndpointIndependent, udp.AddressDependent, udp.AddressAndPortDependent,
			} {
				for name, listener := range map[string]PacketListener{
					"polled": host,
					"any conn": listenFunc(func(ctx context.Context, network, address string) (net.PacketConn, error) {
						pc, err := host.ListenPacket(ctx, network, address)
						return otherPacketConn{pc}, err
					}),
				} {
					t.Run(fmt.Sprint(f.name, " ", mapping, " ", filtering, " ", name), func(t *testing.T) {
						s.t = t
						r := newRig(t, &Server{PacketListener: listener}, stack.Config{
							UDP: udp.Config{Mapping: mapping, Filtering: filtering},
						})
						s.discover(r, f.client, mapping, filtering)
					})
				}
			}
		}
	}
}

// discover plays both sides.
func (s *stun) discover(r *rig, client string, mapping udp.Mapping, filtering udp.Filtering) {
	t := s.t
	pc, err := r.client.ListenPacket(soon(t), "udp", client+":4000")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(patience))
	ask := func(addr, port int) netip.AddrPort {
		t.Helper()
		if _, err := pc.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(s.at(addr, port))); err != nil {
			t.Fatal(err)
		}
		return s.heard(addr, port)
	}

	// Filtering (4.4): the client has sent to one address and port only.
	mapped := ask(0, 0)
	all := [][2]int{{1, 1}, {1, 0}, {0, 1}, {0, 0}}
	for _, at := range all {
		s.say(at[0], at[1], mapped, fmt.Sprint(at))
	}
	var want []string
	for _, at := range all {
		same := at == [2]int{}
		switch {
		case same,
			mapping == udp.PerSource && filtering == udp.EndpointIndependent,
			mapping == udp.PerSource && filtering == udp.AddressDependent && at[0] == 0:
			want = append(want, fmt.Sprintf("%v from %v", at, s.at(at[0], at[1])))
		}
	}
	// The last one always comes, and nothing overtakes another.
	var got []string
	for b := make([]byte, 100); ; {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s from %v", b[:n], from))
		if string(b[:n]) == "[0 0]" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the client heard %q, want %q", got, want)
	}
	refused := uint64(len(all) - len(want))
	wait(t, "the counters", func() bool { return r.fwd.Stats().DatagramsLost == refused })
	if mapping == udp.PerSource {
		if n := r.server.Stats().Drops[drop.UDPFiltered.String()]; n != refused {
			t.Errorf("%d filtered, want %d", n, refused)
		}
	}

	// Mapping (4.3): where else the client seems to be.
	seen := map[netip.AddrPort]bool{mapped: true}
	for _, at := range all {
		seen[ask(at[0], at[1])] = true
	}
	sockets := 1
	if mapping == udp.PerFlow {
		sockets = len(all)
	}
	if len(seen) != sockets || r.fwd.Stats().Sockets != int64(sockets) {
		t.Errorf("the client has the addresses %v and %d sockets, want %d", seen, r.fwd.Stats().Sockets, sockets)
	}
	if mapping == udp.PerSource && filtering != udp.EndpointIndependent {
		// Who was asked may answer now.
		s.say(1, 0, mapped, "now")
		b := make([]byte, 100)
		if n, from, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "now" || from.String() != s.at(1, 0).String() {
			t.Errorf("the client heard %q from %v, %v", b[:n], from, err)
		}
	}
}

package stack

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"l3extract/icmp"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/udp"
)

// TestForeignUnreachable: one client's ICMP errors do not reach the Socket of another,
// neither about what it may have been sent nor about what it cannot have been. Its own
// do.
func TestForeignUnreachable(t *testing.T) {
	for _, ends := range icmpEnds {
		client := netip.AddrPortFrom(netip.MustParseAddr(ends[0]), 1000)
		server := netip.AddrPortFrom(netip.MustParseAddr(ends[1]), 53)
		never := netip.AddrPortFrom(server.Addr().Next(), 4444)
		attacker := client.Addr().Next()
		o := newOutside(t, Config{Addrs: serverAddrs, UDP: udp.Config{Filtering: udp.AddressAndPortDependent}})
		socks := o.UDP().Sockets()
		o.ask(packet.AppendUDP(nil, client, server, 64, 0, []byte("question")))
		s := <-socks
		if _, err := s.ReadMsg(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name   string
			from   netip.Addr
			quoted netip.AddrPort // who sent it
			kind   packet.Unreachable
			want   syscall.Errno // 0: none
			count  drop.Cause
		}{
			{"attacker", attacker, server, packet.PortUnreachable, 0, drop.ICMPStranger},
			{"attacker, protocol", attacker, server, packet.ProtocolUnreachable, 0, drop.ICMPStranger},
			{"attacker, never sent", attacker, never, packet.HostUnreachable, 0, drop.ICMPNoFlow},
			{"client, never sent", client.Addr(), never, packet.PortUnreachable, 0, drop.ICMPNoFlow},
			{"client", client.Addr(), server, packet.PortUnreachable, syscall.ECONNREFUSED, drop.None},
			{"router", attacker, server, packet.HostUnreachable, syscall.EHOSTUNREACH, drop.None},
		} {
			before := o.drops.Load(tc.count)
			o.ask(packet.AppendICMPError(nil, tc.from, tc.kind, packet.AppendUDP(nil, tc.quoted, client, 64, 0, []byte("x")), 0))
			_, err := s.WriteMsg(udp.Msg{Payload: []byte("answer"), Source: server})
			var f *icmp.Error
			if tc.want == 0 {
				if p := o.next(); err != nil || p.SrcAddrPort() != server || o.drops.Load(tc.count) != before+1 {
					t.Errorf("%v %s: %v, %+v, drops %v", ends, tc.name, err, p, o.Stats().Drops)
				}
			} else if !errors.Is(err, tc.want) || !errors.As(err, &f) || f.Kind != tc.kind || f.From != tc.from {
				t.Errorf("%v %s: %v", ends, tc.name, err)
			}
		}
	}
}

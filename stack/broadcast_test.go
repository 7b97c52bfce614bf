package stack

import (
	"net/netip"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/udp"
)

// TestDirectedBroadcast: the broadcast address of an own network is no host (RFC 1122
// 3.2.2): no ping to it is answered or handed out, nothing sent there is reported, and
// datagrams are for those alone who want multicast.
func TestDirectedBroadcast(t *testing.T) {
	client, all := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("10.0.0.255")
	from, to := netip.AddrPortFrom(client, 1), netip.AddrPortFrom(all, 2)
	for _, echo := range []Echo{EchoForward, EchoLocal, EchoOff} {
		for _, multicast := range []bool{false, true} {
			o := newOutside(t, Config{
				Addrs: serverAddrs, ICMP: ICMPConfig{Echo: echo}, UDP: udp.Config{Multicast: multicast},
			})
			echoes := o.ICMP().Echoes()
			many := o.drops.Load(drop.Multicast)
			for _, ttl := range []byte{64, 1} {
				for name, p := range map[string][]byte{
					"ping":     echoRequest(client, all, []byte("x")),
					"datagram": packet.AppendUDP(nil, from, to, 64, 0, []byte("x")), // nobody accepts Sockets
					"SCTP":     withProtocol(packet.AppendUDP(nil, from, to, 64, 0, []byte("x")), 132),
					"SYN":      packet.AppendTCP(nil, packet.TCPHeader{Src: from, Dst: to, Flags: packet.SYN, Window: 9}, nil),
				} {
					if answers := o.ask(withTTL(p, ttl)); len(answers) != 0 {
						t.Errorf("echo %d, %s with TTL %d: answered with %+v", echo, name, ttl, answers[0])
					}
				}
			}
			if n := o.drops.Load(drop.EchoOff); len(echoes) != 0 || n != 2 {
				t.Errorf("echo %d: %d echoes wait, %d dropped", echo, len(echoes), n)
			}
			want := uint64(6)
			if multicast {
				want = 4
			}
			if n := o.drops.Load(drop.Multicast) - many; n != want {
				t.Errorf("%d dropped as multicast, want %d", n, want)
			}
			if !multicast {
				continue
			}
			socks := o.UDP().Sockets()
			o.ask(packet.AppendUDP(nil, from, to, 64, 0, []byte("x")))
			s := <-socks
			if _, err := s.WriteMsg(udp.Msg{Payload: []byte("x"), Source: to}); err == nil {
				t.Error("an answer from a broadcast address")
			}
			_ = s.Reject(nil)
			if answers := o.ask(); len(answers) != 0 {
				t.Errorf("answered with %+v", answers[0])
			}
		}
	}
}

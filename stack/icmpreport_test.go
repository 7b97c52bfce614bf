package stack

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"l3extract/icmp"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// icmpEnds are a client and a foreign server of each family.
var icmpEnds = [][2]string{{"192.0.2.9", "198.51.100.7"}, {"2001:db8:1::9", "2001:db8::7"}}

// withTTL returns pkt with another TTL or hop limit.
func withTTL(pkt []byte, ttl byte) []byte {
	pkt = bytes.Clone(pkt)
	if pkt[0]>>4 == 4 {
		pkt[8] = ttl
		return mend(pkt)
	}
	pkt[7] = ttl
	return pkt
}

// withProtocol returns pkt as one of another protocol.
func withProtocol(pkt []byte, proto byte) []byte {
	pkt = bytes.Clone(pkt)
	if pkt[0]>>4 == 4 {
		pkt[9] = proto
		return mend(pkt)
	}
	pkt[6] = proto
	return pkt
}

// TestTimeExceeded: what has no hop left is reported by the own address that the
// client would dial, whatever it is, unless it is for the Stack itself.
func TestTimeExceeded(t *testing.T) {
	for _, ends := range icmpEnds {
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		from, to := netip.AddrPortFrom(client, 1000), netip.AddrPortFrom(server, 80)
		own := serverAddrs[0].Addr()
		if client.Is6() {
			own = serverAddrs[1].Addr()
		}
		o := newOutside(t, Config{Addrs: serverAddrs, MTU: 4000})
		o.TCP().Streams()
		o.UDP().Sockets()
		o.ICMP().Echoes()
		datagram := packet.AppendUDP(nil, from, to, 1, 0, bytes.Repeat([]byte("datagram"), 200))
		syn := packet.AppendTCP(nil, packet.TCPHeader{Src: from, Dst: to, Flags: packet.SYN, Window: 1000, TTL: 1}, nil)
		rows := []struct {
			name string
			pkts [][]byte
			want int // answers
		}{
			{"datagram", [][]byte{datagram}, 1},
			{"datagram with TTL 0", [][]byte{withTTL(datagram, 0)}, 1},
			{"datagram with options", [][]byte{extended(datagram, 60)}, 1},
			{"datagram in fragments", fragments(t, datagram, 1300, 4), 1}, // about the first only
			{"SYN", [][]byte{syn}, 1},
			{"ping", [][]byte{withTTL(echoRequest(client, server, nil), 1)}, 1},
			{"SCTP", [][]byte{withProtocol(datagram, 132)}, 1},
			{"error", [][]byte{withTTL(packet.AppendICMPError(nil, client, packet.PortUnreachable, swapped(datagram), 0), 1)}, 0},
			{"multicast", [][]byte{packet.AppendUDP(nil, from, multicastOf(client), 1, 0, []byte("x"))}, 0},
		}
		for _, tc := range rows {
			expired := o.drops.Load(drop.TTLExpired)
			answers := o.ask(tc.pkts...)
			if len(answers) != tc.want {
				t.Fatalf("%v %s: %d answers, want %d", ends, tc.name, len(answers), tc.want)
			}
			if n := o.drops.Load(drop.TTLExpired) - expired; tc.name != "multicast" && n != uint64(len(tc.pkts)) {
				t.Errorf("%v %s: counted %d times", ends, tc.name, n)
			}
			for _, a := range answers {
				e, ok := packet.ParseICMPError(a)
				if !ok || a.Src != own || a.Dst != client || e.Kind != packet.TimeExceeded || e.Dst.Addr() != server {
					t.Errorf("%v %s: answer %+v from %v", ends, tc.name, e, a.Src)
				}
			}
		}
		// To the Stack itself there is no further hop.
		if a := o.ask(withTTL(echoRequest(client, own, []byte("own")), 1)); len(a) != 1 || string(a[0].Payload) != "own" {
			t.Errorf("%v: %d answers to a ping of the Stack's own address", ends, len(a))
		}
	}
}

func swapped(pkt []byte) []byte {
	var p packet.Packet
	_ = p.Decode(pkt)
	return packet.AppendUDP(nil, p.DstAddrPort(), p.SrcAddrPort(), 0, 0, nil)
}

func multicastOf(a netip.Addr) netip.AddrPort {
	if a.Is4() {
		return netip.MustParseAddrPort("224.0.0.251:5353")
	}
	return netip.MustParseAddrPort("[ff02::fb]:5353")
}

// TestTransparent: a Stack that is no hop serves what comes with the last one, and so
// does one without an address of the family.
func TestTransparent(t *testing.T) {
	for _, cfg := range []Config{{Addrs: serverAddrs, ICMP: ICMPConfig{Transparent: true}}, {Addrs: serverAddrs[:1]}} {
		o := newOutside(t, cfg)
		sockets := o.UDP().Sockets()
		from, to := netip.MustParseAddrPort("[2001:db8:1::9]:9"), netip.MustParseAddrPort("[2001:db8::7]:9")
		if a := o.ask(packet.AppendUDP(nil, from, to, 1, 0, []byte("x"))); len(a) != 0 || len(sockets) != 1 {
			t.Errorf("%d answers, %d sockets", len(a), len(sockets))
		}
	}
}

// TestUnknownProtocol: protocol unreachable, as the destination says it: IPv4 type 3
// code 2, IPv6 a parameter problem that points at the next header. The rate is that of
// the source.
func TestUnknownProtocol(t *testing.T) {
	for _, ends := range icmpEnds {
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		datagram := packet.AppendUDP(nil, netip.AddrPortFrom(client, 1), netip.AddrPortFrom(server, 1), 0, 0, make([]byte, 2000))
		o := newOutside(t, Config{Addrs: serverAddrs, MTU: 4000})
		sctp := withProtocol(datagram, 132)
		for name, pkts := range map[string][][]byte{
			"whole": {sctp}, "options": {extended(sctp, 60)}, "fragments": fragments(t, sctp, 1300, 3),
		} {
			before := o.drops.Load(drop.UnknownProtocol)
			answers := o.ask(pkts...)
			if n := o.drops.Load(drop.UnknownProtocol) - before; len(answers) != 1 || n != uint64(len(pkts)) {
				t.Fatalf("%v %s: %d answers, counted %d times", ends, name, len(answers), n)
			}
			a := answers[0]
			typ, code, rest := uint8(3), uint8(2), uint32(0)
			if client.Is6() {
				typ, code, rest = 4, 1, 6
				if name != "whole" {
					rest = 40 // the field in the extension header
				}
			}
			if a.ICMPType != typ || a.ICMPCode != code || a.ICMPRest != rest || a.Src != server {
				t.Errorf("%v %s: type %d code %d rest %d from %v", ends, name, a.ICMPType, a.ICMPCode, a.ICMPRest, a.Src)
			}
		}
		var flood [][]byte
		for range errorBurst {
			flood = append(flood, sctp)
		}
		o.ask(flood...)
		if n := o.drops.Load(drop.ICMPRate); n == 0 {
			t.Errorf("%v: %d answers were not too many", ends, errorBurst+3)
		}
	}
}

// TestAcceptor: pings to foreign addresses wait for whoever asked for them, and are
// answered as it says.
func TestAcceptor(t *testing.T) {
	for _, ends := range icmpEnds {
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		o := newOutside(t, Config{Addrs: serverAddrs, ICMP: ICMPConfig{EchoQueue: 2}, MTU: 1500})
		echoes := o.ICMP()
		ping := withTTL(echoRequest(client, server, []byte("payload")), 7)
		if a := o.ask(ping, ping, ping); len(a) != 0 || o.drops.Load(drop.EchoQueueFull) != 1 {
			t.Fatalf("%v: %d answers, drops %v", ends, len(a), o.Stats().Drops)
		}
		e, err := echoes.AcceptEcho(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if e.Source != client || e.Destination != server || e.ID != 0x1234 || e.Seq != 1 || e.TTL != 7 || string(e.Payload) != "payload" {
			t.Errorf("%v: got %+v", ends, e)
		}
		if err := e.Reply(); err != nil {
			t.Fatal(err)
		}
		if p := o.next(); p.Src != server || p.Dst != client || p.ICMPRest != 0x12340001 || string(p.Payload) != "payload" || p.TTL != 64 {
			t.Errorf("%v: reply %+v", ends, p)
		}
		if err := e.ReplyWith([]byte("other"), 9); err != nil {
			t.Fatal(err)
		}
		if p := o.next(); string(p.Payload) != "other" || p.TTL != 9 {
			t.Errorf("%v: reply %+v", ends, p)
		}
		router := server.Next()
		for _, tc := range []struct {
			report error
			from   netip.Addr
			kind   packet.Unreachable
		}{
			{e.TimeExceeded(router), router, packet.TimeExceeded},
			{e.TimeExceeded(netip.Addr{}), o.icmp.source(client), packet.TimeExceeded},
			{e.Unreachable(&icmp.Error{Kind: icmp.TooBig, From: router, MTU: 1300}), router, packet.TooBig},
		} {
			p := o.next()
			q, ok := packet.ParseICMPError(p)
			if tc.report != nil || !ok || p.Src != tc.from || q.Kind != tc.kind || q.Dst.Addr() != server || q.Src.Addr() != client {
				t.Errorf("%v: %v: %+v from %v", ends, tc.report, q, p.Src)
			}
			if id, seq, _, ok := packet.ReadEcho(p.Payload[len(p.Payload)-packet.EchoLen-7:], client.Is6()); !ok || id != 0x1234 || seq != 1 {
				t.Errorf("%v: quoted ping %x", ends, p.Payload)
			}
		}
		// A reply larger than the MTU leaves in fragments.
		if err := e.ReplyWith(make([]byte, 3000), 0); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if p := o.next(); !p.Fragment || p.Src != server {
				t.Errorf("%v: %+v is no fragment", ends, p)
			}
		}
		if err := e.ReplyWith(make([]byte, 70000), 0); err == nil {
			t.Error("a reply of 70 000 bytes")
		}
		_ = echoes.Close()
		_ = echoes.Close()
		off := o.drops.Load(drop.EchoOff)
		if a := o.ask(ping); len(a) != 0 || off != 1 || o.drops.Load(drop.EchoOff) != 2 {
			t.Errorf("%v: %d answers after Close, drops %v", ends, len(a), o.Stats().Drops)
		}
		if _, err := echoes.AcceptEcho(soon(t)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("AcceptEcho after Close: %v", err)
		}
		if _, ok := <-echoes.Echoes(); ok {
			t.Error("Echoes is open after Close")
		}
	}
}

// TestOwnReplyInFragments: an own address answers a ping larger than the MTU, too.
func TestOwnReplyInFragments(t *testing.T) {
	for _, ends := range [][2]string{{"10.0.0.2", "10.0.0.1"}, {"fd00::2", "fd00::1"}} {
		o := newOutside(t, Config{Addrs: serverAddrs, MTU: 1500})
		whole := echoRequest(netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1]), make([]byte, 3000))
		answers := o.ask(fragments(t, whole, 1300, 9)...)
		if len(answers) != 3 {
			t.Fatalf("%v: %d packets: %v", ends, len(answers), o.Stats().Drops)
		}
		for _, a := range answers {
			if !a.Fragment || len(a.Raw) > 1500 {
				t.Errorf("%v: fragment %v of %d bytes", ends, a.Fragment, len(a.Raw))
			}
		}
	}
}

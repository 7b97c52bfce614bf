package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"l3extract/internal/drop"
)

// seeds are packets of every kind, good and bad.
func seeds() [][]byte {
	all := [][]byte{nil, {0x45}, {0x60}, make([]byte, 40), bytes.Repeat([]byte{0xff}, 80)}
	for _, version := range []int{4, 6} {
		_, dst := ends(version)
		syn := tcpPacket(version, SYN, "")
		all = append(all, udpPacket(version, ""), udpPacket(version, "datagram"), syn,
			tcpPacket(version, ACK|PSH, "segment"), tcpPacket(version, RST, ""), tcpPacket(version, SYN|FIN, ""),
			echoPacket(version, "ping"), syn[:len(syn)-1], patch(syn, 8, 0xff))
		for u := NetUnreachable; u < OtherError; u++ {
			all = append(all, AppendICMPError(nil, dst.Addr(), u, syn, 1400))
		}
	}
	dest := extension(destOptions, 0, 1, 4)
	return append(all,
		withOptions4(udpPacket(4, "x"), 7, 3, 4, 0),
		withOptions4(udpPacket(4, "x"), 131, 7, 4, 127, 0, 0, 1, 0),
		frag4(tcpPacket(4, SYN, "1234"), 0, true),
		frag4(tcpPacket(4, SYN, "1234"), 8, false),
		frag4(udpPacket(4, "12345678"), 1480, true),
		withExtensions(udpPacket(6, "x"), extension(hopByHop, 0, 5, 2, 0, 0, 1, 0), dest, extension(routing, 0, 0, 0),
			fragmentExtension(0, false, 7), ext6{authentic, append([]byte{4}, make([]byte, 22)...)}, dest),
		withExtensions(udpPacket(6, "12345678"), fragmentExtension(8, true, 7)),
		withExtensions(udpPacket(6, "12345678"), dest, fragmentExtension(0, true, 7)),
		withExtensions(tcpPacket(6, SYN, ""), extension(routing, 2, 0, 1)),
		patch(udpPacket(6, "x"), 6, noNextHeader),
		patch(udpPacket(4, "x"), 9, 132),
	)
}

// inside reports whether part lies in whole.
func inside(whole, part []byte) bool {
	if len(part) == 0 {
		return true
	}
	for i := range whole {
		if &whole[i] == &part[0] {
			return i+len(part) <= len(whole)
		}
	}
	return false
}

func FuzzDecode(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var p Packet
		cause := p.Decode(b)
		// Whatever it was, nothing built from it may panic or be wrong.
		for _, answer := range [][]byte{
			AppendICMPError(nil, server4.Addr(), HostUnreachable, b, 0),
			AppendICMPError(nil, server6.Addr(), TooBig, b, 1280),
		} {
			if answer != nil {
				mustBeRight(t, answer)
			}
		}
		if cause == drop.None {
			checkDecoded(t, &p, b)
		}
		if !bytes.Equal(b, before) {
			t.Error("reading changed the packet")
		}
	})
}

// checkDecoded checks what holds for every packet that Decode accepts.
func checkDecoded(t *testing.T, p *Packet, b []byte) {
	if !bytes.HasPrefix(b, p.Raw) || len(p.Raw) > 0 && &p.Raw[0] != &b[0] {
		t.Fatal("Raw is not the beginning of the input")
	}
	if p.HeaderLen > len(p.Raw) || !bytes.Equal(p.L4, p.Raw[p.HeaderLen:]) || !inside(p.Raw, p.L4) {
		t.Fatal("L4 is not Raw[HeaderLen:]")
	}
	if !inside(p.L4, p.Payload) || !inside(p.L4, p.TCPOptions()) {
		t.Fatal("the payload or the options lie outside of the transport part")
	}
	if int(p.Version) != int(b[0]>>4) || !p.Src.IsValid() || p.Src.Is4() != (p.Version == 4) || p.Src.BitLen() != p.Dst.BitLen() {
		t.Fatalf("version %d with %v and %v", p.Version, p.Src, p.Dst)
	}
	first := !p.Fragment || p.FragOffset == 0
	if first && (p.Proto == TCP || p.Proto == UDP) == (p.SrcPort == 0 || p.DstPort == 0) {
		t.Fatalf("protocol %d with ports %d and %d", p.Proto, p.SrcPort, p.DstPort)
	}
	if p.Fragment != (p.MoreFragments || p.FragOffset > 0) {
		t.Fatalf("fragment %v, more %v, offset %d", p.Fragment, p.MoreFragments, p.FragOffset)
	}
	p.ChecksumOK()
	var again Packet
	if c := again.Decode(p.Raw); c != drop.None || again.HeaderLen != p.HeaderLen || again.Proto != p.Proto {
		t.Fatalf("Raw alone reads as %v, %+v", c, again)
	}
	for _, answer := range [][]byte{AppendReset(nil, p), AppendEchoReply(nil, p)} {
		if answer == nil {
			continue
		}
		if a := mustBeRight(t, answer); a.Dst != p.Src || a.Src != p.Dst {
			t.Fatalf("the answer goes from %v to %v", a.Src, a.Dst)
		}
	}
	for _, mtu := range []int{68, 1280} {
		err := Fragment(p.Raw, mtu, 1, func(frag []byte) {
			if len(frag) > mtu {
				t.Fatalf("a fragment of %d bytes for an MTU of %d", len(frag), mtu)
			}
		})
		if err == ErrUnreadable && !(p.Version == 6 && p.Options) {
			t.Fatal("a packet that can be read could not be cut")
		}
	}
}

func FuzzParseICMPError(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		// The quoted packet is the input; around it stands a right message to its source.
		var p Packet
		quoting := ICMPv4
		outer := AppendUDP(nil, server4, client4, 0, 0, b)
		if six {
			outer, quoting = AppendUDP(nil, server6, client6, 0, 0, b), ICMPv6
		}
		if outer == nil || p.Decode(outer) != drop.None {
			return
		}
		p.Proto, p.ICMPType, p.ICMPCode, p.ICMPRest = quoting, 3, 4, 0xffffffff
		checkICMPError(t, &p)
		// And the input may be the whole message.
		if p.Decode(b) == drop.None {
			checkICMPError(t, &p)
		}
	})
}

func checkICMPError(t *testing.T, p *Packet) {
	e, ok := ParseICMPError(p)
	if !ok {
		if e != (ICMPError{}) {
			t.Fatalf("value and refusal: %+v", e)
		}
		return
	}
	if e.Kind == 0 || e.Src.Addr() != p.Dst || !e.Dst.Addr().IsValid() || e.Dst.Addr().Is4() != p.Dst.Is4() || e.MTU < 0 {
		t.Fatalf("read as %+v", e)
	}
	if e.Proto != TCP && (e.Seq != 0 || e.Proto != UDP && e.Src.Port()|e.Dst.Port() != 0) {
		t.Fatalf("protocol %d with ports or sequence number: %+v", e.Proto, e)
	}
	// Unless something forbids an answer, quoting the quote says the same again.
	b := AppendICMPError(nil, e.Dst.Addr(), e.Kind, p.Payload, e.MTU)
	if b == nil {
		return
	}
	again, ok := ParseICMPError(mustBeRight(t, b))
	if !ok || again.Src != e.Src || again.Dst != e.Dst || again.Seq != e.Seq || again.Kind != e.Kind {
		t.Fatalf("quoted again it reads as %+v, %v; want %+v", again, ok, e)
	}
}

func FuzzBuild(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, uint16(80), uint16(1024), uint32(1), uint32(2), uint8(SYN), uint8(64), uint8(0), []byte{2, 4, 5, 180}, []byte("x"))
	v6 := server6.Addr().As16()
	f.Add(v6[:], v6[:], uint16(1), uint16(65535), ^uint32(0), uint32(0), uint8(ACK|FIN), uint8(0), uint8(255), []byte(nil), []byte(nil))
	mapped := netip.MustParseAddr("::ffff:10.0.0.1").As16()
	f.Add(mapped[:], []byte{1, 2, 3, 4}, uint16(9), uint16(9), uint32(0), uint32(0), uint8(RST), uint8(1), uint8(1), make([]byte, 40), make([]byte, 1400))
	f.Fuzz(func(t *testing.T, from, to []byte, sport, dport uint16, seq, ack uint32, flags, ttl, tos uint8, opts, payload []byte) {
		a, _ := netip.AddrFromSlice(from)
		b, _ := netip.AddrFromSlice(to)
		src, dst := netip.AddrPortFrom(a, sport), netip.AddrPortFrom(b, dport)
		same := a.IsValid() && b.IsValid() && a.Unmap().Is4() == b.Unmap().Is4()
		wantTTL := ttl
		if ttl == 0 {
			wantTTL = DefaultTTL
		}
		check := func(pkt []byte, l4 int) *Packet {
			max := maxPacket
			if a.Unmap().Is4() {
				max -= v4HeaderLen
			}
			if built := pkt != nil; built != (same && l4 <= max) {
				t.Fatalf("built %v from %v to %v with %d bytes", built, src, dst, l4)
			}
			var p Packet
			if pkt == nil || p.Decode(pkt) != drop.None {
				return nil // ports and flags are the caller's
			}
			if len(p.Raw) != len(pkt) || !p.ChecksumOK() || !bytes.Equal(p.Payload, payload) || p.TTL != wantTTL || p.TOS != tos ||
				p.Src != a.Unmap() || p.Dst != b.Unmap() || p.SrcPort != sport || p.DstPort != dport {
				t.Fatalf("reads as %+v", p)
			}
			return &p
		}
		check(AppendUDP(nil, src, dst, ttl, tos, payload), udpHeaderLen+len(payload))
		if len(opts) > 40 {
			return
		}
		h := TCPHeader{Src: src, Dst: dst, Seq: seq, Ack: ack, Flags: flags, Window: sport ^ dport, TTL: ttl, TOS: tos, Options: opts}
		p := check(AppendTCP(nil, h, payload), tcpHeaderLen+(len(opts)+3)&^3+len(payload))
		if p != nil && (p.Seq != seq || p.Ack != ack || p.Flags != flags || p.Window != h.Window || !bytes.HasPrefix(p.TCPOptions(), opts)) {
			t.Fatalf("reads as %+v", p)
		}
	})
}

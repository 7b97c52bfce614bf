package packet

import (
	"bytes"
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"l3extract/internal/drop"
	"l3extract/l3conn/checksum"
)

func TestAppendEcho(t *testing.T) {
	for _, version := range []int{4, 6} {
		from, to := ends(version)
		for _, reply := range []bool{false, true} {
			h := EchoHeader{Src: from.Addr(), Dst: to.Addr(), ID: 0x1234, Seq: 0xfffe, FragID: 7, TTL: 9, TOS: 4, Reply: reply}
			b := AppendEcho([]byte("before"), h, []byte("payload"))
			mustBeRight(t, b[6:])
			var p Packet
			if c := p.Decode(b[6:]); c != drop.None || p.IsEchoRequest() == reply || string(p.Payload) != "payload" ||
				p.ICMPRest != 0x1234fffe || p.TTL != 9 || p.TOS != 4 || p.Src != h.Src || p.Dst != h.Dst {
				t.Errorf("v%d reply %v: %v, %+v", version, reply, c, p)
			}
			if version == 4 && p.FragID != 7 {
				t.Errorf("identification %d", p.FragID)
			}
			id, seq, isReply, ok := ReadEcho(p.L4, version == 6)
			if !ok || id != h.ID || seq != h.Seq || isReply != reply {
				t.Errorf("v%d: read %#x, %#x, %v, %v", version, id, seq, isReply, ok)
			}
			if _, _, _, ok := ReadEcho(p.L4, version == 4); ok {
				t.Errorf("v%d: read as the other version", version)
			}
			if _, _, _, ok := ReadEcho(p.L4[:7], version == 6); ok {
				t.Errorf("v%d: read although cut", version)
			}
			if !reply { // the reply that the decoder's side makes is the same
				h.Src, h.Dst, h.Reply, h.TTL = h.Dst, h.Src, true, 0
				if got, want := AppendEchoReply(nil, &p), AppendEcho(nil, h, []byte("payload")); !bytes.Equal(got, want) {
					t.Errorf("v%d: %x, want %x", version, got, want)
				}
			}
		}
		for name, h := range map[string]EchoHeader{
			"multicast":   {Src: from.Addr(), Dst: netip.MustParseAddr("224.0.0.1")},
			"unspecified": {Src: netip.IPv6Unspecified(), Dst: to.Addr()},
			"mixed":       {Src: server4.Addr(), Dst: server6.Addr()},
			"none":        {},
		} {
			if b := AppendEcho([]byte("x"), h, nil); string(b) != "x" {
				t.Errorf("%s: %x", name, b)
			}
		}
		if b := AppendEcho(nil, EchoHeader{Src: from.Addr(), Dst: to.Addr()}, make([]byte, 65536)); b != nil {
			t.Error("a ping longer than any packet")
		}
	}
}

func TestAppendIP(t *testing.T) {
	for _, version := range []int{4, 6} {
		from, to := ends(version)
		b := AppendIP(nil, from.Addr(), to.Addr(), 47, 3, 8, []byte("generic"))
		var p Packet
		if c := p.Decode(b); c != drop.UnknownProtocol || p.Proto != 47 || p.TTL != 3 || p.TOS != 8 || string(p.L4) != "generic" {
			t.Errorf("v%d: %v, %+v", version, c, p)
		}
		Identify(b, 0xabcd)
		if c := p.Decode(b); c != drop.UnknownProtocol || version == 4 && (p.FragID != 0xabcd || checksum.Sum(b[:20]) != 0xffff) {
			t.Errorf("v%d: %v, identification %#x", version, c, p.FragID)
		}
		proto, typ := ICMPv4, EchoRequest4
		if version == 6 {
			proto, typ = ICMPv6, EchoRequest6
		}
		msg := make([]byte, EchoLen)
		PutEcho(msg, typ, 1, 2)
		mustBeRight(t, AppendIP(nil, from.Addr(), to.Addr(), proto, 0, 0, msg))
		if b := AppendIP(nil, from.Addr(), to.Addr(), proto, 0, 0, msg[:7]); b != nil {
			t.Errorf("v%d: an ICMP message of 7 bytes: %x", version, b)
		}
	}
	if b := AppendIP(nil, server4.Addr(), server6.Addr(), 47, 0, 0, nil); b != nil {
		t.Errorf("mixed: %x", b)
	}
	Identify(nil, 1) // nothing to do, and nothing happens
}

func TestFault(t *testing.T) {
	for kind, want := range map[Unreachable]error{
		NetUnreachable: syscall.ENETUNREACH, HostUnreachable: syscall.EHOSTUNREACH, PortUnreachable: syscall.ECONNREFUSED,
		AdminProhibited: syscall.EACCES, ProtocolUnreachable: syscall.ENOPROTOOPT, TooBig: syscall.EMSGSIZE,
		TimeExceeded: syscall.EHOSTUNREACH,
	} {
		err := error(&Fault{Kind: kind, From: server4.Addr()})
		if !errors.Is(err, want) || errors.Is(err, syscall.EPIPE) || err.Error() != kind.String()+", says "+server4.Addr().String() {
			t.Errorf("%v: %v", kind, err)
		}
		for _, version := range []uint8{4, 6} {
			typ, code, ok := kind.wire(version)
			if got := KindOf(version, typ, code); !ok || got != kind {
				t.Errorf("v%d: %v comes back as %v", version, kind, got)
			}
		}
	}
	other := &Fault{Kind: OtherError}
	if errors.Is(other, syscall.Errno(0)) || other.Error() != OtherError.String() {
		t.Errorf("%v matches no error", other)
	}
}

// FuzzEcho: what is built is what is read, and whatever is read is no more than there.
func FuzzEcho(f *testing.F) {
	f.Add([]byte("payload"), uint16(1), uint16(2), false, true)
	f.Add([]byte{8, 0, 0, 0, 0, 1, 0, 2}, uint16(0xffff), uint16(0), true, false)
	f.Add([]byte{129, 0, 0, 0, 0, 1, 0}, uint16(0), uint16(0xffff), true, true)
	f.Fuzz(func(t *testing.T, b []byte, id, seq uint16, v6, reply bool) {
		if _, _, _, ok := ReadEcho(b, v6); ok && len(b) < EchoLen {
			t.Error("read what is not there")
		}
		h := EchoHeader{Src: server4.Addr(), Dst: client4.Addr(), ID: id, Seq: seq, Reply: reply}
		if v6 {
			h.Src, h.Dst = server6.Addr(), client6.Addr()
		}
		pkt := AppendEcho(nil, h, b)
		if len(b) > maxPacket-v6HeaderLen {
			return
		}
		mustBeRight(t, pkt)
		var p Packet
		if c := p.Decode(pkt); c != drop.None || !bytes.Equal(p.Payload, b) {
			t.Fatalf("%v, payload %x", c, p.Payload)
		}
		if i, s, r, ok := ReadEcho(p.L4, v6); !ok || i != id || s != seq || r != reply {
			t.Errorf("read %d, %d, %v, %v", i, s, r, ok)
		}
	})
}

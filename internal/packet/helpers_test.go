package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"l3extract/internal/drop"
)

var (
	client4 = netip.MustParseAddrPort("10.0.0.2:40000")
	server4 = netip.MustParseAddrPort("192.0.2.7:443")
	client6 = netip.MustParseAddrPort("[fd00::2]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8::7]:443")
)

// ends returns the two ends used for an IP version.
func ends(version int) (src, dst netip.AddrPort) {
	if version == 4 {
		return client4, server4
	}
	return client6, server6
}

func udpPacket(version int, payload string) []byte {
	src, dst := ends(version)
	return AppendUDP(nil, src, dst, 0, 0, []byte(payload))
}

func tcpPacket(version int, flags uint8, payload string) []byte {
	src, dst := ends(version)
	return AppendTCP(nil, TCPHeader{Src: src, Dst: dst, Seq: 1000, Ack: 2000, Flags: flags, Window: 512}, []byte(payload))
}

func echoPacket(version int, payload string) []byte {
	src, dst := ends(version)
	h := ipHeader{src: src.Addr(), dst: dst.Addr(), proto: ICMPv4, id: 77}
	typ := EchoRequest4
	if version == 6 {
		h.proto, typ = ICMPv6, EchoRequest6
	}
	b, l4 := appendIP(nil, h, icmpHeaderLen+len(payload))
	copy(b[l4:], []byte{typ, 0, 0, 0, 0x12, 0x34, 0, 9})
	copy(b[l4+icmpHeaderLen:], payload)
	finishICMP(b, b[l4:], h.proto)
	return b
}

// patch returns a copy of pkt with bytes replaced from off on.
func patch(pkt []byte, off int, with ...byte) []byte {
	b := bytes.Clone(pkt)
	copy(b[off:], with)
	return b
}

// fix4 makes the IPv4 header checksum of pkt right.
func fix4(pkt []byte) []byte {
	n := int(pkt[0]&15) * 4
	pkt[10], pkt[11] = 0, 0
	binary.BigEndian.PutUint16(pkt[10:], ^naive(pkt[:n], 0))
	return pkt
}

// withOptions4 puts options, a multiple of 4 bytes, into an IPv4 packet.
func withOptions4(pkt []byte, opts ...byte) []byte {
	b := bytes.Clone(pkt[:v4HeaderLen])
	b = append(append(b, opts...), pkt[v4HeaderLen:]...)
	b[0] = 0x40 | uint8((v4HeaderLen+len(opts))/4)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return fix4(b)
}

// An ext6 is an extension header without its next header field.
type ext6 struct {
	typ  uint8
	rest []byte
}

// extension returns an extension header of type typ that says size units of 8 bytes
// behind the first, filled with body and zeros.
func extension(typ, size uint8, body ...byte) ext6 {
	rest := make([]byte, (int(size)+1)*8-1)
	rest[0] = size
	copy(rest[1:], body)
	return ext6{typ, rest}
}

// fragmentExtension returns a fragment header.
func fragmentExtension(off int, more bool, id uint32) ext6 {
	rest := make([]byte, 7)
	field := uint16(off)
	if more {
		field |= 1
	}
	binary.BigEndian.PutUint16(rest[1:], field)
	binary.BigEndian.PutUint32(rest[3:], id)
	return ext6{fragmentExt, rest}
}

// withExtensions puts extension headers into an IPv6 packet that has none.
func withExtensions(pkt []byte, exts ...ext6) []byte {
	b := bytes.Clone(pkt[:v6HeaderLen])
	next, at := pkt[6], 6
	for _, e := range exts {
		b[at] = e.typ
		at = len(b)
		b = append(append(b, next), e.rest...)
	}
	b = append(b, pkt[v6HeaderLen:]...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-v6HeaderLen))
	return b
}

// resize6 cuts or extends an IPv6 packet to n bytes and makes its length say so.
func resize6(pkt []byte, n int) []byte {
	b := make([]byte, n)
	copy(b, pkt)
	binary.BigEndian.PutUint16(b[4:], uint16(n-v6HeaderLen))
	return b
}

// resize4 does so for IPv4.
func resize4(pkt []byte, n int) []byte {
	b := make([]byte, n)
	copy(b, pkt)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return fix4(b)
}

// frag4 makes pkt a fragment.
func frag4(pkt []byte, off int, more bool) []byte {
	b := bytes.Clone(pkt)
	field := uint16(off / 8)
	if more {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], field)
	return fix4(b)
}

func mustDecode(t testing.TB, b []byte) *Packet {
	t.Helper()
	p := new(Packet)
	if c := p.Decode(b); c != drop.None {
		t.Fatalf("Decode = %v for\n%s", c, hex.Dump(b))
	}
	return p
}

// mustBeRight decodes a packet that we built and verifies its checksums.
func mustBeRight(t testing.TB, b []byte) *Packet {
	t.Helper()
	p := mustDecode(t, b)
	if len(p.Raw) != len(b) {
		t.Fatalf("length field says %d, packet has %d bytes", len(p.Raw), len(b))
	}
	if !p.ChecksumOK() {
		t.Fatalf("checksum wrong in\n%s", hex.Dump(b))
	}
	return p
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

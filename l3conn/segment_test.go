package l3conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn/checksum"
)

var (
	src4, dst4 = netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:2000")
	src6, dst6 = netip.MustParseAddrPort("[2001:db8::1]:1000"), netip.MustParseAddrPort("[2001:db8::2]:2000")
)

// pattern is payload whose every part differs.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// run builds a segment of n payload bytes, size to a packet, with the partial
// checksum that belongs there.
func run(t testing.TB, kind SegmentKind, src, dst netip.AddrPort, n, size int) Segment {
	t.Helper()
	var b []byte
	if kind == SegmentUDP {
		b = packet.AppendUDP(nil, src, dst, 64, 0, pattern(n))
	} else {
		h := packet.TCPHeader{
			Src: src, Dst: dst, Seq: 0xffffff00, Ack: 9, Window: 99, TTL: 64,
			Flags: packet.ACK | packet.PSH | packet.FIN | 0x80, Options: []byte{1, 1, 1, 0},
		}
		b = packet.AppendTCP(nil, h, pattern(n))
	}
	s := Segment{Parts: [][]byte{b}, Kind: kind, PayloadSize: uint16(size)}
	if err := s.Describe(len(b)); err != nil {
		t.Fatal(err)
	}
	addrs, proto := b[12:20], protoTCP
	if src.Addr().Is6() {
		addrs = b[8:40]
	}
	if kind == SegmentUDP {
		proto = protoUDP
	}
	sum := checksum.Fold(uint64(checksum.Sum(addrs)) + uint64(proto) + uint64(len(b)-int(s.ChecksumStart)))
	binary.BigEndian.PutUint16(b[s.ChecksumStart+s.ChecksumOffset:], sum)
	return s
}

// split cuts the parts of s in pieces of the given sizes, over and over.
func split(s Segment, sizes ...int) Segment {
	b := bytes.Join(s.Parts, nil)
	s.Parts = nil
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), sizes[i%len(sizes)])
		s.Parts, b = append(s.Parts, b[:n]), b[n:]
	}
	return s
}

func cutAll(t *testing.T, s Segment) (pkts [][]byte) {
	t.Helper()
	var c Cutter
	if err := c.Reset(&s, s.Len()); err != nil {
		t.Fatal(err)
	}
	for {
		b := make([]byte, 2000)
		if _, err := c.Next(b[:19]); err != ErrShortBuffer && err != io.EOF {
			t.Fatal(err)
		}
		n, err := c.Next(b)
		if err == io.EOF {
			return pkts
		}
		if err != nil {
			t.Fatal(err)
		}
		pkts = append(pkts, b[:n])
	}
}

// verify checks that pkts are what s stands for.
func verify(t *testing.T, s Segment, pkts [][]byte) {
	t.Helper()
	whole := bytes.Join(s.Parts, nil)
	var payload []byte
	var whole4 uint16
	if whole[0]>>4 == 4 {
		whole4 = binary.BigEndian.Uint16(whole[4:])
	}
	for i, b := range pkts {
		var p packet.Packet
		if c := p.Decode(b); c != drop.None || !p.ChecksumOK() {
			t.Fatalf("packet %d of %d: %v, checksum %v", i, len(pkts), c, p.ChecksumOK())
		}
		last := i == len(pkts)-1
		if !last && len(p.Payload) != int(s.PayloadSize) {
			t.Fatalf("packet %d of %d has %d bytes", i, len(pkts), len(p.Payload))
		}
		if p.Version == 4 && binary.BigEndian.Uint16(b[4:]) != whole4+uint16(i) {
			t.Errorf("packet %d: ID %x", i, binary.BigEndian.Uint16(b[4:]))
		}
		if p.Proto == packet.TCP {
			if want := binary.BigEndian.Uint32(whole[s.ChecksumStart+4:]) + uint32(len(payload)); p.Seq != want {
				t.Errorf("packet %d: sequence number %d, want %d", i, p.Seq, want)
			}
			if cwr := b[s.ChecksumStart+13]&0x80 != 0; cwr != (i == 0) {
				t.Errorf("packet %d: CWR %v", i, cwr)
			}
			if p.Flags&packet.FIN != 0 != last || p.Flags&packet.PSH != 0 != last || p.Flags&packet.ACK == 0 {
				t.Errorf("packet %d: flags %x", i, p.Flags)
			}
		}
		payload = append(payload, p.Payload...)
	}
	if !bytes.Equal(payload, whole[s.HeaderSize:]) {
		t.Error("another payload")
	}
}

func kinds(t *testing.T, f func(t *testing.T, kind SegmentKind, src, dst netip.AddrPort)) {
	for _, c := range []struct {
		name     string
		kind     SegmentKind
		src, dst netip.AddrPort
	}{
		{"TCP4", SegmentTCP4, src4, dst4}, {"TCP6", SegmentTCP6, src6, dst6},
		{"UDP4", SegmentUDP, src4, dst4}, {"UDP6", SegmentUDP, src6, dst6},
	} {
		t.Run(c.name, func(t *testing.T) { f(t, c.kind, c.src, c.dst) })
	}
}

func TestCutter(t *testing.T) {
	kinds(t, func(t *testing.T, kind SegmentKind, src, dst netip.AddrPort) {
		for _, n := range []int{1, 99, 100, 101, 1001, 60000} {
			s := run(t, kind, src, dst, n, 100)
			if err := s.Check(OffloadAll, 1500); err != nil {
				t.Fatal(err)
			}
			for _, sizes := range [][]int{{1 << 20}, {1}, {40, 20, 1, 500}, {int(s.HeaderSize), 1 << 20}, {300}} {
				s := split(s, sizes...)
				if err := s.Check(OffloadAll, 1500); err != nil {
					t.Fatal(sizes, err)
				}
				pkts := cutAll(t, s)
				if len(pkts) != (n+99)/100 {
					t.Fatal(len(pkts), "packets of", n)
				}
				verify(t, s, pkts)
			}
		}
	})
}

// TestToPartial: a filled in checksum becomes a partial one if it is right.
func TestToPartial(t *testing.T) {
	kinds(t, func(t *testing.T, kind SegmentKind, src, dst netip.AddrPort) {
		want := run(t, kind, src, dst, 5001, 1000)
		whole := want
		whole.Kind = SegmentNone
		room := make([]byte, MaxSegment) // one packet with all of it
		var c Cutter
		if err := c.Reset(&whole, whole.Len()); err != nil {
			t.Fatal(err)
		}
		n, err := c.Next(room)
		if err != nil {
			t.Fatal(err)
		}
		for _, sizes := range [][]int{{1 << 20}, {1}, {43, 17}, {2048, 1 << 20}} {
			for _, state := range []ChecksumState{ChecksumFull, ChecksumVerified} {
				for _, wrong := range []bool{false, true} {
					b := bytes.Clone(room[:n])
					if wrong {
						b[4000]++
					}
					s := split(Segment{Parts: [][]byte{b}, Kind: kind, PayloadSize: 1000, Checksum: state}, sizes...)
					err := s.ToPartial(n)
					if wrong && state == ChecksumFull {
						if err != syscall.EINVAL || s.Checksum != state {
							t.Error("a wrong checksum:", err)
						}
						continue
					}
					b = bytes.Join(s.Parts, nil)
					if wrong {
						b[4000]--
					}
					if err != nil || s.Checksum != ChecksumPartial || s.Check(OffloadAll, 1500) != nil ||
						!bytes.Equal(b, want.Parts[0]) {
						t.Error(sizes, state, err)
					}
				}
			}
		}
	})
	if s := (Segment{Parts: [][]byte{make([]byte, 100)}}); s.ToPartial(100) != syscall.EINVAL {
		t.Error("no segment")
	}
}

// TestCutterNone: a single packet stays what it is, with its checksum finished.
func TestCutterNone(t *testing.T) {
	for _, kind := range []SegmentKind{SegmentUDP, SegmentTCP4} {
		s := run(t, kind, src4, dst4, 501, 600)
		s.Kind = SegmentNone
		pkts := cutAll(t, split(s, 7))
		var p packet.Packet
		if len(pkts) != 1 || p.Decode(pkts[0]) != drop.None || !p.ChecksumOK() || !bytes.Equal(p.Payload, pattern(501)) {
			t.Error(pkts)
		}
		s.Checksum = ChecksumFull
		if again := cutAll(t, Segment{Parts: pkts}); len(again) != 1 || !bytes.Equal(again[0], pkts[0]) {
			t.Error("a finished packet was changed")
		}
	}
	if pkts := cutAll(t, Segment{}); len(pkts) != 0 {
		t.Error("packets of nothing")
	}
}

// TestExtensionHeaders: a segment may have them, a fragment is none.
func TestExtensionHeaders(t *testing.T) {
	s := run(t, SegmentUDP, src6, dst6, 1000, 100)
	b := s.Parts[0]
	with := func(next byte) Segment {
		ext := []byte{protoUDP, 0, 1, 4, 0, 0, 0, 0}
		p := append(append(bytes.Clone(b[:40]), ext...), b[40:]...)
		p[6] = next
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		return Segment{Parts: [][]byte{p}, Kind: SegmentUDP, PayloadSize: 100}
	}
	for _, next := range []byte{0, 60} {
		s := with(next)
		if err := s.Describe(s.Len()); err != nil || s.HeaderSize != 56 || s.ChecksumStart != 48 {
			t.Fatal(next, err, s.HeaderSize, s.ChecksumStart)
		}
		if pkts := cutAll(t, s); len(pkts) != 10 {
			t.Error(len(pkts), "packets")
		} else {
			verify(t, s, pkts)
		}
	}
	for _, next := range []byte{43, 44, 51, 253} {
		if s := with(next); s.Describe(s.Len()) != syscall.EINVAL {
			t.Error("next header", next)
		}
	}
}

func TestCheck(t *testing.T) {
	good := func() Segment { return run(t, SegmentTCP4, src4, dst4, 3000, 1000) }
	for _, c := range []struct {
		name   string
		change func(s *Segment)
		write  Features
		mtu    int
		want   error
	}{
		{"as it is", func(s *Segment) {}, OffloadAll, 1500, nil},
		{"unknown MTU", func(s *Segment) {}, OffloadAll, 0, nil},
		{"TCP only", func(s *Segment) {}, OffloadTCP4 | OffloadChecksum, 1500, nil},
		{"not offered", func(s *Segment) {}, OffloadAll &^ OffloadTCP4, 1500, syscall.EINVAL},
		{"no checksums offered", func(s *Segment) {}, OffloadTCP4, 1500, syscall.EINVAL},
		{"MTU", func(s *Segment) {}, OffloadAll, 1043, ErrTooLong},
		{"MTU exactly", func(s *Segment) {}, OffloadAll, 1044, nil},
		{"full checksum", func(s *Segment) { s.Checksum = ChecksumFull }, OffloadAll, 1500, syscall.EINVAL},
		{"verified", func(s *Segment) { s.Checksum = ChecksumVerified }, OffloadAll, 1500, syscall.EINVAL},
		{"no such checksum", func(s *Segment) { s.Checksum = 3 }, OffloadAll, 1500, syscall.EINVAL},
		{"no such kind", func(s *Segment) { s.Kind = 4 }, OffloadAll, 1500, syscall.EINVAL},
		{"another kind", func(s *Segment) { s.Kind = SegmentTCP6 }, OffloadAll, 1500, syscall.EINVAL},
		{"UDP", func(s *Segment) { s.Kind = SegmentUDP }, OffloadAll, 1500, syscall.EINVAL},
		{"no payload size", func(s *Segment) { s.PayloadSize = 0 }, OffloadAll, 1500, syscall.EINVAL},
		{"header size", func(s *Segment) { s.HeaderSize++ }, OffloadAll, 1500, syscall.EINVAL},
		{"checksum start", func(s *Segment) { s.ChecksumStart-- }, OffloadAll, 1500, syscall.EINVAL},
		{"checksum offset", func(s *Segment) { s.ChecksumOffset = 6 }, OffloadAll, 1500, syscall.EINVAL},
		{"checksum outside", func(s *Segment) { s.ChecksumStart = 3040 }, OffloadAll, 1500, syscall.EINVAL},
		{"total length", func(s *Segment) { s.Parts[0][3]++ }, OffloadAll, 1500, syscall.EINVAL},
		{"cut off", func(s *Segment) { s.Parts[0] = s.Parts[0][:2000] }, OffloadAll, 1500, syscall.EINVAL},
		{"only a header", func(s *Segment) { s.Parts[0] = s.Parts[0][:44] }, OffloadAll, 1500, syscall.EINVAL},
		{"nothing", func(s *Segment) { s.Parts = nil }, OffloadAll, 1500, syscall.EINVAL},
		{"fragment", func(s *Segment) { s.Parts[0][6] |= 0x20 }, OffloadAll, 1500, syscall.EINVAL},
		{"version", func(s *Segment) { s.Parts[0][0] = 0x65 }, OffloadAll, 1500, syscall.EINVAL},
		{"header length", func(s *Segment) { s.Parts[0][0] = 0x44 }, OffloadAll, 1500, syscall.EINVAL},
		{"data offset", func(s *Segment) { s.Parts[0][32] = 0x40 }, OffloadAll, 1500, syscall.EINVAL},
		{"protocol", func(s *Segment) { s.Parts[0][9] = 17 }, OffloadAll, 1500, syscall.EINVAL},
		{"too long", func(s *Segment) { s.Parts = append(s.Parts, make([]byte, 65000)) }, OffloadAll, 1500, ErrTooLong},
		{"packet too long", func(s *Segment) { s.Kind = SegmentNone }, OffloadAll, 1500, ErrTooLong},
		{"packet", func(s *Segment) { s.Kind = SegmentNone }, OffloadChecksum, 9000, nil},
		{"packet, checksum outside", func(s *Segment) { s.Kind, s.ChecksumStart = SegmentNone, 3040 }, OffloadAll, 9000, syscall.EINVAL},
		{"nothing at all", func(s *Segment) { *s = Segment{} }, 0, 1500, nil},
	} {
		s := good()
		c.change(&s)
		if err := s.Check(c.write, c.mtu); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		var cut Cutter
		if err := cut.Reset(&s, s.Len()); err == nil && c.want == syscall.EINVAL && c.write == OffloadAll {
			for err == nil { // what Check refuses may be harmless, but never a panic
				_, err = cut.Next(make([]byte, 4000))
			}
		}
	}
}

// FuzzSegment: whatever the bytes and fields, nothing panics, and what passes
// the check is cut into valid packets that hold all its payload.
func FuzzSegment(f *testing.F) {
	for _, s := range []Segment{
		run(f, SegmentTCP4, src4, dst4, 300, 100), run(f, SegmentTCP6, src6, dst6, 300, 100),
		run(f, SegmentUDP, src4, dst4, 300, 100), run(f, SegmentUDP, src6, dst6, 300, 100),
	} {
		f.Add(s.Parts[0], byte(s.Kind), s.PayloadSize, byte(30))
	}
	f.Fuzz(func(t *testing.T, b []byte, kind byte, size uint16, at byte) {
		s := Segment{Parts: [][]byte{b}, Kind: SegmentKind(kind), PayloadSize: size}
		if int(at) < len(b) {
			s.Parts = [][]byte{b[:at], b[at:]}
		}
		described := s.Describe(len(b)) == nil
		if checked := s.Check(OffloadAll, 0); described && checked != nil && !errors.Is(checked, syscall.EMSGSIZE) {
			t.Fatal("Describe and Check disagree:", checked)
		}
		var c Cutter
		if c.Reset(&s, len(b)) != nil {
			return
		}
		room, got := make([]byte, MaxSegment), 0
		for {
			n, err := c.Next(room)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var p packet.Packet
			if s.Kind != SegmentNone && p.Decode(room[:n]) == drop.None && !p.ChecksumOK() {
				t.Fatal("a wrong checksum")
			}
			got += n - int(s.HeaderSize)
		}
		if got != len(b)-int(s.HeaderSize) {
			t.Fatalf("%d bytes of %d", got, len(b)-int(s.HeaderSize))
		}
	})
}

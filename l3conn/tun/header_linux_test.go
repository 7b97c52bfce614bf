package tun

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// header is what a kernel, or whoever stands in for it, says of a packet.
type header struct {
	flags, gso                  uint8
	hdrLen, size, start, offset uint16
}

func (h header) set(o *ops) {
	clear(o.header[:])
	o.header[0], o.header[1] = h.flags, h.gso
	o.setField(atHeaderLen, h.hdrLen)
	o.setField(atGSOSize, h.size)
	o.setField(atChecksumStart, h.start)
	o.setField(atChecksumOffset, h.offset)
}

func headerOps() *ops { return newOps(&device{size: 1500, offload: offload{header: minHeader}}) }

func TestDescribe(t *testing.T) {
	tcp4 := tcpSegment(t, "10.0.0.1:1", "10.0.0.2:2", 3000, 1000)
	tcp6 := tcpSegment(t, "[2001:db8::1]:1", "[2001:db8::2]:2", 3000, 1000)
	single := l3conn.Segment{Checksum: l3conn.ChecksumPartial, ChecksumStart: 20, ChecksumOffset: 16}
	ecn := tcp4
	ecn.ECN = true
	for _, c := range []struct {
		name string
		say  header
		of   l3conn.Segment
		want l3conn.Segment // its Size is set for those that are not lost
	}{
		{"TCP4", header{1, 1, 40, 1000, 20, 16}, tcp4, tcp4},
		{"TCP6", header{1, 4, 60, 1000, 40, 16}, tcp6, tcp6},
		{"ECN", header{1, 0x81, 40, 1000, 20, 16}, tcp4, ecn},
		{"wrong header length", header{1, 1, 3040, 1000, 20, 16}, tcp4, tcp4},
		{"one packet after all", header{1, 1, 40, 3000, 20, 16}, tcp4, single},
		{"single, partial", header{1, 0, 0, 0, 20, 16}, tcp4, single},
		{"single, verified", header{2, 0, 0, 0, 0, 0}, tcp4, l3conn.Segment{Checksum: l3conn.ChecksumVerified}},
		{"single", header{0, 0, 0, 0, 0, 0}, tcp4, l3conn.Segment{}},
		{"TCP4 as TCP6", header{1, 4, 40, 1000, 20, 16}, tcp4, l3conn.Segment{}},
		{"TCP4 as UDP", header{1, 5, 40, 1000, 20, 16}, tcp4, l3conn.Segment{}},
		{"no such type", header{1, 3, 40, 1000, 20, 16}, tcp4, l3conn.Segment{}},
		{"no size", header{1, 1, 40, 0, 20, 16}, tcp4, l3conn.Segment{}},
		{"checksum start", header{1, 1, 40, 1000, 24, 16}, tcp4, l3conn.Segment{}},
		{"checksum offset", header{1, 1, 40, 1000, 20, 6}, tcp4, l3conn.Segment{}},
		{"checksum outside", header{1, 0, 40, 1000, 3030, 16}, tcp4, l3conn.Segment{}},
		{"wrong checksum", header{0, 1, 40, 1000, 0, 0}, tcp4, l3conn.Segment{}},
	} {
		o := headerOps()
		c.say.set(o)
		n := c.of.Len()
		got := l3conn.Segment{Parts: c.of.Parts}
		kept := o.describe(&got, n)
		lost := c.want.Kind == l3conn.SegmentNone && c.want.Checksum == l3conn.ChecksumFull && c.name != "single"
		if kept == lost {
			t.Errorf("%s: kept is %v", c.name, kept)
		}
		got.Parts, c.want.Parts = nil, nil
		if kept && !equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func equal(a, b l3conn.Segment) bool {
	return a.Kind == b.Kind && a.ECN == b.ECN && a.Checksum == b.Checksum && a.HeaderSize == b.HeaderSize &&
		a.PayloadSize == b.PayloadSize && a.ChecksumStart == b.ChecksumStart && a.ChecksumOffset == b.ChecksumOffset
}

// TestMergedByCard: segments that come with a full checksum are what the others
// are, if it is right.
func TestMergedByCard(t *testing.T) {
	s := tcpSegment(t, "10.0.0.1:1", "10.0.0.2:2", 3000, 1000)
	want := s.Parts[0]
	full := bytes.Clone(want)
	whole := l3conn.Segment{Parts: [][]byte{want}, Checksum: l3conn.ChecksumPartial, ChecksumStart: 20, ChecksumOffset: 16}
	var c l3conn.Cutter
	if err := c.Reset(&whole, len(want)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(full); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []uint8{0, flagDataValid} {
		o, b := headerOps(), bytes.Clone(full)
		header{flags, 1, 40, 1000, 0, 0}.set(o)
		got := l3conn.Segment{Parts: [][]byte{b[:30], b[30:37], b[37:]}}
		if !o.describe(&got, len(b)) || !equal(got, s) || !bytes.Equal(b, want) {
			t.Errorf("flags %d: %+v", flags, got)
		}
	}
}

// TestEncode: what is written comes back the same.
func TestEncode(t *testing.T) {
	for _, s := range []l3conn.Segment{
		tcpSegment(t, "10.0.0.1:1", "10.0.0.2:2", 3000, 1000), tcpSegment(t, "[2001:db8::1]:1", "[2001:db8::2]:2", 3000, 1000),
		{Checksum: l3conn.ChecksumPartial, ChecksumStart: 20, ChecksumOffset: 16, Parts: [][]byte{make([]byte, 40)}}, {Parts: [][]byte{make([]byte, 40)}},
	} {
		o := headerOps()
		header{255, 255, 65535, 65535, 65535, 65535}.set(o) // what the last one left
		s.ECN = s.Kind != l3conn.SegmentNone
		o.encode(&s)
		got := l3conn.Segment{Parts: s.Parts}
		if !o.describe(&got, s.Len()) || !equal(got, s) {
			t.Errorf("%+v became %+v", s, got)
		}
	}
	o, s := headerOps(), l3conn.Segment{Kind: l3conn.SegmentUDP, ECN: true, Checksum: l3conn.ChecksumPartial}
	if o.encode(&s); o.header[1] != unix.VIRTIO_NET_HDR_GSO_UDP_L4 {
		t.Error("UDP with ECN:", o.header[1])
	}
	s.Checksum = l3conn.ChecksumVerified
	if o.encode(&s); o.header[0] != 0 {
		t.Error("flags", o.header[0])
	}
}

// FuzzDescribe: whatever is in header and packet, what is not lost can be
// written again.
func FuzzDescribe(f *testing.F) {
	p := packet.AppendTCP(nil, packet.TCPHeader{Src: addr("10.0.0.1:1"), Dst: addr("10.0.0.2:2")}, make([]byte, 300))
	f.Add([]byte{1, 1, 40, 0, 100, 0, 20, 0, 16, 0}, p)
	f.Add([]byte{2, 1, 40, 0, 100, 0, 20, 0, 16, 0}, p)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 20, 0, 16, 0}, p)
	f.Add([]byte{1, 5, 28, 0, 100, 0, 20, 0, 6, 0}, packet.AppendUDP(nil, addr("10.0.0.1:1"), addr("10.0.0.2:2"), 0, 0, make([]byte, 300)))
	f.Add([]byte{1, 4, 60, 0, 100, 0, 40, 0, 16, 0},
		packet.AppendTCP(nil, packet.TCPHeader{Src: addr("[2001:db8::1]:1"), Dst: addr("[2001:db8::2]:2")}, make([]byte, 300)))
	f.Fuzz(func(t *testing.T, head, b []byte) {
		if len(b) == 0 || len(b) > l3conn.MaxSegment {
			return
		}
		o := headerOps()
		copy(o.header[:minHeader], head)
		s := l3conn.Segment{Parts: [][]byte{b}}
		if o.describe(&s, len(b)) {
			if err := s.Check(l3conn.OffloadAll, 0); err != nil {
				t.Fatalf("%+v: %v", s, err)
			}
		}
		copy(o.header[:minHeader], head)
		var in packet.Packet
		if n := o.settle(b); n > 0 && o.header[0]&flagNeedsChecksum != 0 && in.Decode(b[:n]) == drop.None && n != len(b) {
			t.Fatal(n, len(b))
		}
	})
}

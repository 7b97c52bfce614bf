package fault

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// tcpSegment returns a segment of n bytes of payload, mss to a packet, and the
// packets that it stands for.
func tcpSegment(t testing.TB, src, dst netip.AddrPort, n, mss int) (l3conn.Segment, [][]byte) {
	t.Helper()
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i * 31 >> 3)
	}
	raw := packet.AppendTCP(nil, packet.TCPHeader{Src: src, Dst: dst, Seq: 1000, Ack: 1, Flags: packet.ACK, Window: 100}, payload)
	s := l3conn.Segment{Parts: [][]byte{raw}, Kind: l3conn.SegmentTCP4, PayloadSize: uint16(mss)}
	if dst.Addr().Is6() {
		s.Kind = l3conn.SegmentTCP6
	}
	if err := s.ToPartial(len(raw)); err != nil {
		t.Fatal(err)
	}
	if err := s.Describe(len(raw)); err != nil {
		t.Fatal(err)
	}
	var cut l3conn.Cutter
	if err := cut.Reset(&s, len(raw)); err != nil {
		t.Fatal(err)
	}
	var pkts [][]byte
	for {
		b := make([]byte, 2048)
		k, err := cut.Next(b)
		if err != nil {
			return s, pkts
		}
		pkts = append(pkts, b[:k])
	}
}

var ends = [][2]netip.AddrPort{
	{netip.MustParseAddrPort("10.0.0.2:1000"), netip.MustParseAddrPort("198.51.100.7:80")},
	{netip.MustParseAddrPort("[fd00::2]:1000"), netip.MustParseAddrPort("[2001:db8::7]:80")},
}

// TestSegmentsAreCutFirst: faults are those of packets, each decided about on its
// own, and what comes through are whole packets, checksums and all.
func TestSegmentsAreCutFirst(t *testing.T) {
	for _, d := range []Direction{
		{Drop: 0.2, Duplicate: 0.1},
		{Drop: 0.2, Duplicate: 0.1, Delay: time.Millisecond},
	} {
		for _, e := range ends {
			synctest.Test(t, func(t *testing.T) {
				x, y := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Packets: 1024})
				c := open(t, x, &Config{Seed: 5, Out: d})
				s, want := tcpSegment(t, e[0], e[1], 60000, 1400)
				one, _ := tcpSegment(t, e[0], e[1], 100, 1400)
				one.Kind = l3conn.SegmentNone // one packet, its checksum to be finished
				const rounds = 10
				for range rounds {
					if n, err := c.self.Offloader.WriteSegments([]l3conn.Segment{s, {}, one}); n != 3 || err != nil {
						t.Fatal(n, err)
					}
				}
				time.Sleep(time.Second)
				count := c.Stats().Out
				if sent := uint64(rounds * (len(want) + 1)); count.Packets != sent || count.Dropped < sent/10 || count.Dropped > sent/3 {
					t.Errorf("%+v of %d", count, sent)
				}
				balanced(t, count)
				buf := make([]byte, 2048)
				for range count.Delivered {
					n, err := y.Read(buf)
					if err != nil {
						t.Fatal(err)
					}
					var p packet.Packet
					if err := p.Decode(buf[:n]); err != 0 {
						t.Fatalf("a packet that is none: %v", err)
					}
					if len(p.Payload) != 100 && !slices.ContainsFunc(want, func(w []byte) bool { return bytes.Equal(w, buf[:n]) }) {
						t.Fatal("a packet that was not sent")
					}
					if !p.ChecksumOK() {
						t.Fatal("wrong checksum")
					}
				}
				c.Close()
				y.Close()
			})
		}
	}
}

// TestReaderGetsPackets: from a direction with faults no segments come, with or
// without batches, and a flipped bit is one that the reader is told to look for.
func TestReaderGetsPackets(t *testing.T) {
	x, y := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Packets: 1024})
	c := open(t, x, &Config{In: Direction{Corrupt: 1}})
	o := c.self.Offloader
	if err := o.EnableOffload(l3conn.OffloadTCP4); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("EnableOffload: %v", err)
	}
	if err := o.EnableOffload(0); err != nil {
		t.Error(err)
	}
	s, want := tcpSegment(t, ends[0][0], ends[0][1], 60000, 1400)
	if _, err := y.WriteSegments([]l3conn.Segment{s}); err != nil {
		t.Fatal(err)
	}
	segs := make([]l3conn.Segment, o.SegmentBatch())
	for i := range segs {
		segs[i].Parts = [][]byte{make([]byte, 50), make([]byte, 1450)}
	}
	for got := 0; got < len(want); {
		n, err := o.ReadSegments(segs)
		if err != nil {
			t.Fatal(err)
		}
		for i := range segs[:n] {
			b := bytes.Join(segs[i].Parts, nil)[:segs[i].Size]
			if segs[i].Kind != l3conn.SegmentNone || segs[i].Checksum != l3conn.ChecksumFull || len(b) != len(want[got]) {
				t.Fatalf("%+v", segs[i])
			}
			flipped := 0
			for k := range b {
				for x := b[k] ^ want[got][k]; x != 0; x &= x - 1 {
					flipped++
				}
			}
			if flipped != 1 {
				t.Errorf("packet %d: %d bits differ", got, flipped)
			}
			got++
		}
	}
	c.Close()
}

// TestSegmentErrors: a segment that makes no sense stops the call, as below.
func TestSegmentErrors(t *testing.T) {
	for _, d := range []Direction{{Drop: never}, {Delay: 1}} {
		x, _ := l3conn.SegmentPipe(nil)
		c := open(t, x, both(d))
		good, pkts := tcpSegment(t, ends[0][0], ends[0][1], 3000, 1400)
		bad, long := good, good
		bad.HeaderSize++
		long.PayloadSize = 2000
		for _, s := range []l3conn.Segment{bad, long} {
			n, err := c.self.Offloader.WriteSegments([]l3conn.Segment{good, s, good})
			want := s.Check(l3conn.OffloadAll, 1500)
			if n != 1 || want == nil || !errors.Is(err, want) {
				t.Errorf("%d, %v, want %v", n, err, want)
			}
		}
		if s := c.Stats().Out; s.Packets != 2*uint64(len(pkts)) {
			t.Errorf("%+v", s)
		}
		c.Close()
	}
}

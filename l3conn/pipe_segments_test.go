package l3conn

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// rooms returns n segments with room for a small and a large one each.
func rooms(n int) []Segment {
	segs := make([]Segment, n)
	for i := range segs {
		segs[i].Parts = [][]byte{make([]byte, 2048), make([]byte, 64<<10)}
	}
	return segs
}

// joined returns the bytes that were read into s.
func joined(s Segment) []byte { return bytes.Join(s.Parts, nil)[:s.Size] }

func TestSegmentPipe(t *testing.T) {
	kinds(t, func(t *testing.T, kind SegmentKind, src, dst netip.AddrPort) {
		a, b := SegmentPipe(nil)
		if err := b.EnableOffload(OffloadAll); err != nil {
			t.Fatal(err)
		}
		s := run(t, kind, src, dst, 50000, 1000)
		s.ECN = kind != SegmentUDP
		one := run(t, kind, src, dst, 100, 1000)
		one.Kind = SegmentNone
		sent := []Segment{split(s, 60, 5000), one, {}, {Parts: [][]byte{{1}}, Checksum: ChecksumVerified}}
		if n, err := a.WriteSegments(sent); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		got := rooms(8)
		if n, err := b.ReadSegments(got); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		for i, want := range []Segment{sent[0], sent[1], sent[3]} {
			if !bytes.Equal(joined(got[i]), bytes.Join(want.Parts, nil)) {
				t.Error(i, "other bytes")
			}
			g := got[i]
			g.Parts, g.Size, want.Parts = nil, 0, nil
			if g.Kind != want.Kind || g.ECN != want.ECN || g.Checksum != want.Checksum ||
				g.HeaderSize != want.HeaderSize || g.PayloadSize != want.PayloadSize ||
				g.ChecksumStart != want.ChecksumStart || g.ChecksumOffset != want.ChecksumOffset {
				t.Errorf("%+v, want %+v", g, want)
			}
		}
	})
}

// TestSegmentPipeCuts: an end that has not enabled what comes gets packets.
func TestSegmentPipeCuts(t *testing.T) {
	kinds(t, func(t *testing.T, kind SegmentKind, src, dst netip.AddrPort) {
		for _, enabled := range []Features{0, OffloadChecksum, OffloadAll &^ kind.feature()} {
			a, b := SegmentPipe(nil)
			if err := b.EnableOffload(enabled); err != nil {
				t.Fatal(err)
			}
			s := run(t, kind, src, dst, 5000, 1000)
			if n, err := a.WriteSegments([]Segment{s}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			var pkts [][]byte
			for len(pkts) < 5 {
				segs := rooms(2)
				n, err := b.ReadSegments(segs)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range segs[:n] {
					if s.Kind != SegmentNone || s.Checksum != ChecksumFull {
						t.Errorf("%+v", s)
					}
					pkts = append(pkts, joined(s))
				}
			}
			verify(t, s, pkts)
		}
	})
}

func TestSegmentPipePlain(t *testing.T) {
	a, b := SegmentPipe(&SegmentPipeConfig{Batch: 3, Packets: 8, MTU: 1200})
	if a.BatchSize() != 3 || a.SegmentBatch() != 3 || a.MTU() != 1200 {
		t.Error(a.BatchSize(), a.SegmentBatch(), a.MTU())
	}
	buf, bufs, sizes := make([]byte, 1500), [][]byte{make([]byte, 1500)}, make([]int, 1)
	s := run(t, SegmentTCP4, src4, dst4, 3000, 1000)
	if _, err := a.WriteSegments([]Segment{s}); err != nil {
		t.Fatal(err)
	}
	var pkts [][]byte
	n, err := b.Read(buf)
	pkts = append(pkts, bytes.Clone(buf[:n]))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if n, err := b.ReadBatch(bufs, sizes); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		pkts = append(pkts, bytes.Clone(bufs[0][:sizes[0]]))
	}
	verify(t, s, pkts)

	if err := b.EnableOffload(OffloadTCP4 | OffloadChecksum); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(buf); !errors.Is(err, syscall.EINVAL) {
		t.Error("Read with offload enabled:", err)
	}
	if _, err := b.ReadBatch(bufs, sizes); !errors.Is(err, syscall.EINVAL) {
		t.Error("ReadBatch with offload enabled:", err)
	}
	// What comes between two users may be lost, but is never given in a wrong form.
	a.WriteSegments([]Segment{s})
	a.Write([]byte{7})
	if err := b.EnableOffload(0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 4000)); err != ErrShortBuffer {
		t.Error(err)
	}
	if n, err := b.Read(buf); n != 1 || buf[0] != 7 || err != nil {
		t.Error(n, err)
	}
	a.Close()
	b.Close()
	if _, err := b.Read(buf); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := b.ReadSegments(rooms(1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := a.WriteSegments([]Segment{s}); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestSegmentPipeRefuses(t *testing.T) {
	a, b := SegmentPipe(&SegmentPipeConfig{Features: OffloadTCP4 | OffloadChecksum, Packets: 3, Direct: true})
	if !Probe(a).Direct || Probe(a).Offloader != Offloader(a) {
		t.Error("abilities")
	}
	if err := b.EnableOffload(OffloadTCP6); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	good := run(t, SegmentTCP4, src4, dst4, 3000, 1000)
	for _, c := range []struct {
		bad  Segment
		want error
	}{
		{run(t, SegmentTCP6, src6, dst6, 3000, 1000), syscall.EINVAL},
		{run(t, SegmentTCP4, src4, dst4, 3000, 1480), ErrTooLong},
		{Segment{Parts: [][]byte{make([]byte, 1501)}}, ErrTooLong},
	} {
		if n, err := a.WriteSegments([]Segment{{}, c.bad, good}); n != 1 || !errors.Is(err, c.want) {
			t.Error(n, err, c.want)
		}
	}
	if n, err := b.ReadSegments(nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	// The other end takes packets, of which there are three.
	if n, err := a.WriteSegments([]Segment{good, good}); n != 1 || err != ErrNoBuffers {
		t.Error(n, err)
	}
	if _, err := a.Write([]byte{1}); err != ErrNoBuffers {
		t.Error(err)
	}
	small := make([]Segment, 4)
	small[0].Parts = [][]byte{make([]byte, 1000)}
	for i := range 3 {
		small[i+1].Parts = [][]byte{make([]byte, 1100)}
	}
	if n, err := b.ReadSegments(small); n != 3 || err != nil || small[0].Size != 0 || small[1].Size != 1044 {
		t.Error(n, err, small[0].Size, small[1].Size)
	}
}

func TestSegmentPipeAllocatesNothing(t *testing.T) {
	a, b := SegmentPipe(&SegmentPipeConfig{Packets: 64})
	segs := []Segment{
		split(run(t, SegmentTCP4, src4, dst4, 50000, 1000), 44, 30000),
		split(run(t, SegmentUDP, src6, dst6, 1200, 1000), 100),
	}
	got := rooms(8)
	for _, f := range []Features{OffloadAll, 0} {
		b.EnableOffload(f)
		round := func() {
			if _, err := a.WriteSegments(segs); err != nil {
				t.Fatal(err)
			}
			for left := 52; left > 0; {
				n, _ := b.ReadSegments(got)
				if left -= n; f != 0 && n == 2 {
					break
				}
			}
		}
		for range 64 {
			round()
		}
		if n := testing.AllocsPerRun(100, round); n != 0 {
			t.Errorf("features %b: %v allocations", f, n)
		}
	}
}

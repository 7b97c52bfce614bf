package pcap

import (
	"bytes"
	"io"
	"testing"

	"l3extract/l3conn"
)

// segments carries one segment each way.
type segments struct {
	l3conn.Funcs
	written []l3conn.Segment
	enabled l3conn.Features
}

func (s *segments) Caps() l3conn.Caps { return l3conn.Caps{Offloader: s, Direct: true} }

func (s *segments) Offload() (read, write l3conn.Features) {
	return l3conn.OffloadTCP4, l3conn.OffloadChecksum
}
func (s *segments) EnableOffload(f l3conn.Features) error { s.enabled = f; return nil }
func (s *segments) SegmentBatch() int                     { return 1 }

func (s *segments) ReadSegments(segs []l3conn.Segment) (int, error) {
	segs[0].Size = copy(segs[0].Parts[0], ping[:20])
	segs[0].Size += copy(segs[0].Parts[1], ping[20:])
	return 1, nil
}

func (s *segments) WriteSegments(segs []l3conn.Segment) (int, error) {
	s.written = append(s.written, segs...)
	return len(segs), nil
}

func TestSegments(t *testing.T) {
	var file bytes.Buffer
	below := &segments{}
	tee, err := New(below, &file, &Config{SnapLen: 30})
	if err != nil {
		t.Fatal(err)
	}
	o := l3conn.Probe(tee).Offloader
	if r, w := o.Offload(); r != l3conn.OffloadTCP4 || w != l3conn.OffloadChecksum || o.SegmentBatch() != 1 {
		t.Fatal("features changed")
	}
	if o.EnableOffload(l3conn.OffloadTCP4); below.enabled != l3conn.OffloadTCP4 {
		t.Fatal("not enabled below")
	}
	in := []l3conn.Segment{{Parts: [][]byte{make([]byte, 20), make([]byte, 50)}}}
	if n, err := o.ReadSegments(in); n != 1 || err != nil || in[0].Size != len(ping) {
		t.Fatal(n, err)
	}
	out := []l3conn.Segment{{Parts: [][]byte{datagram6[:25], datagram6[25:]}, Checksum: l3conn.ChecksumPartial}, {}}
	if n, err := o.WriteSegments(out); n != 2 || err != nil || below.written[0].Checksum != l3conn.ChecksumPartial {
		t.Fatal(n, err)
	}
	if err := tee.Stop(); err != nil {
		t.Fatal(err)
	}
	_, records := parse(t, file.Bytes())
	if len(records) != 2 || !bytes.Equal(records[0].packet, ping) ||
		!bytes.Equal(records[1].packet, datagram6[:30]) || records[1].size != len(datagram6) {
		t.Errorf("%v", records)
	}
}

// TestSameAbilities: the Tee claims what it wraps can do, no more and no less.
func TestSameAbilities(t *testing.T) {
	pipe, _ := l3conn.Pipe(0, 0)
	batch, _ := l3conn.BatchPipe(0, 0, 0)
	for _, conn := range []l3conn.Conn{
		pipe, batch, l3conn.Funcs{}, l3conn.Funcs{CloseFunc: pipe.Close}, &segments{},
	} {
		tee, err := New(conn, io.Discard, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, got := l3conn.Probe(conn), l3conn.Probe(tee)
		if got.Conn != l3conn.Conn(tee) {
			t.Errorf("%T: packets would pass the Tee by", conn)
		}
		same := func(name string, want, got bool) {
			t.Helper()
			if want != got {
				t.Errorf("%T: %s is %v", conn, name, got)
			}
		}
		same("BatchReader", want.BatchReader != nil, got.BatchReader != nil)
		same("BatchWriter", want.BatchWriter != nil, got.BatchWriter != nil)
		same("Offloader", want.Offloader != nil, got.Offloader != nil)
		same("Direct", want.Direct, got.Direct)
		same("MTU", want.MTU() != 0, got.MTU() == want.MTU() && got.MTUer != nil)
		same("ReadDeadliner", want.ReadDeadliner != nil, got.ReadDeadliner != nil)
		same("WriteDeadliner", want.WriteDeadliner != nil, got.WriteDeadliner != nil)
		same("Closer", want.Closer != nil, got.Closer != nil)
		tee.Stop()
	}
}

package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// owned is a segment's owner that counts its releases.
type owned struct {
	seg      l3conn.Segment
	whole    []byte // of all parts
	released atomic.Int32
}

func (o *owned) Release() {
	if o.released.Add(1) == 1 {
		clear(o.whole) // whoever still uses it shall be found out
	}
}

// newOwned returns a segment of n payload bytes, 1000 to a packet, and the packets
// that it stands for.
func newOwned(t *testing.T, n int) (*owned, [][]byte) {
	t.Helper()
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i*7 + i>>8)
	}
	h := packet.TCPHeader{
		Src: netip.MustParseAddrPort("10.0.0.1:80"), Dst: netip.MustParseAddrPort("10.0.0.2:1000"),
		Seq: 0xfffffff0, Ack: 5, Window: 9, Flags: packet.ACK | packet.PSH,
	}
	b := packet.AppendTCP(nil, h, payload)
	o := &owned{whole: b, seg: l3conn.Segment{
		Kind: l3conn.SegmentTCP4, PayloadSize: 1000, Checksum: l3conn.ChecksumPartial, ChecksumStart: 20, ChecksumOffset: 16,
	}}
	o.seg.Parts = [][]byte{b}
	if n > 1000 {
		if err := o.seg.Describe(len(b)); err != nil {
			t.Fatal(err)
		}
	} else {
		o.seg.Kind, o.seg.PayloadSize = l3conn.SegmentNone, 0
	}
	pseudo := packet.PseudoHeader(h.Src.Addr(), h.Dst.Addr(), packet.TCP, len(b)-20)
	binary.BigEndian.PutUint16(b[36:], packet.Checksum(nil, pseudo))
	o.seg.Parts = [][]byte{b[:20:20], b[20:40:40], b[40:]}
	var c l3conn.Cutter
	if err := c.Reset(&o.seg, len(b)); err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	for {
		p := make([]byte, 1500)
		n, err := c.Next(p)
		if err == io.EOF {
			return o, want
		}
		want = append(want, p[:n])
	}
}

// TestSendSegment: whatever the conn can do, it gets the packets of segments in
// order among others, and each segment is released once, after that.
func TestSendSegment(t *testing.T) {
	for _, tc := range []struct {
		name string
		conn func(*fake) l3conn.Conn
	}{
		{"plain", func(c *fake) l3conn.Conn { return c }},
		{"batches", func(c *fake) l3conn.Conn { return shy{c, 7} }},
		{"in place", func(c *fake) l3conn.Conn { return direct{c} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFake()
			r := newRig(tc.conn(c), 1500)
			var all []*owned
			var want [][]byte
			for _, n := range []int{60000, 1, 3000, 1000, 1001, 65000} {
				o, pkts := newOwned(t, n)
				r.SendSegment(&o.seg, o)
				all, want = append(all, o), append(want, pkts...)
				r.send(100, byte(n), Control)
				mark := make([]byte, 100)
				mark[0] = byte(n)
				want = append(want, mark)
			}
			if !r.caps.Direct {
				r.Stop()
			}
			<-r.write(t.Context())
			for i, w := range want {
				if got := <-c.writes; !bytes.Equal(got[:min(len(w), 1)], w[:1]) || len(got) != len(w) || len(w) > 100 && !bytes.Equal(got, w) {
					t.Fatalf("packet %d of %d is not what was sent", i, len(want))
				}
			}
			if _, _, out, _ := r.Counts(); out != uint64(len(want)) {
				t.Errorf("%d packets counted, want %d", out, len(want))
			}
			for i, o := range all {
				if n := o.released.Load(); n != 1 {
					t.Errorf("segment %d released %d times", i, n)
				}
			}
			r.want(t, nil)
		})
	}
}

// TestSegmentsToOffloader: a conn that takes segments gets them whole.
func TestSegmentsToOffloader(t *testing.T) {
	x, y := l3conn.SegmentPipe(nil)
	if err := y.EnableOffload(l3conn.OffloadAll); err != nil {
		t.Fatal(err)
	}
	r := newRig(x, 1500)
	done := r.write(t.Context())
	for _, n := range []int{60000, 1, 3000} {
		o, _ := newOwned(t, n)
		whole := bytes.Clone(o.whole)
		r.SendSegment(&o.seg, o)
		got := []l3conn.Segment{{Parts: [][]byte{make([]byte, l3conn.MaxSegment)}}}
		if n, err := y.ReadSegments(got); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if !bytes.Equal(got[0].Parts[0][:got[0].Size], whole) || got[0].Kind != o.seg.Kind {
			t.Errorf("%d bytes of kind %d", got[0].Size, got[0].Kind)
		}
	}
	r.Stop()
	<-done
	r.want(t, nil)
}

// TestDroppedSegments: a segment that the queue refuses, that makes no sense, or whose
// packets the conn refuses is released and counted.
func TestDroppedSegments(t *testing.T) {
	c := newFake()
	c.fault = func(n int) error {
		if n == 1 {
			return l3conn.ErrNoBuffers
		}
		return nil
	}
	r := newRig(c, 1500)
	lossy, pkts := newOwned(t, 3000)
	r.SendSegment(&lossy.seg, lossy)
	odd, _ := newOwned(t, 3000)
	odd.seg.PayloadSize = 0
	r.SendSegment(&odd.seg, odd)
	r.Stop()
	late, _ := newOwned(t, 3000)
	r.SendSegment(&late.seg, late)
	<-r.write(t.Context())
	if len(c.writes) != len(pkts)-1 {
		t.Errorf("%d packets written", len(c.writes))
	}
	for _, o := range []*owned{lossy, odd, late} {
		if n := o.released.Load(); n != 1 {
			t.Errorf("released %d times", n)
		}
	}
	r.want(t, map[drop.Cause]uint64{drop.ConnNoBuffers: 1, drop.TransportUndelivered: 1, drop.Closed: 1})
}

// TestBrokenSegment: a conn that breaks in the middle of a segment ends the writer.
func TestBrokenSegment(t *testing.T) {
	for _, batches := range []bool{false, true} {
		c := newFake()
		c.fault = func(n int) error {
			if n == 2 {
				return io.ErrClosedPipe
			}
			return nil
		}
		var conn l3conn.Conn = c
		if batches {
			conn = shy{c, 64}
		}
		r := newRig(conn, 1500)
		o, _ := newOwned(t, 60000)
		r.SendSegment(&o.seg, o)
		<-r.write(context.Background())
		r.failedWith(t, io.ErrClosedPipe)
		if o.released.Load() != 1 || len(c.writes) != 2 {
			t.Errorf("released %d times, %d packets written", o.released.Load(), len(c.writes))
		}
	}
}

// kept is a Buffer with a number.
type kept struct {
	b  []byte
	id int
}

func (k *kept) Bytes() []byte { return k.b }

// TestKeptBuffers: memory that deliver keeps is not read into again, and other memory
// is not given up.
func TestKeptBuffers(t *testing.T) {
	x, y := l3conn.SegmentPipe(nil)
	var drops drop.Counters
	made := 0
	l := New(Config{Conn: x, MTU: 1500, Drops: &drops, Granted: func() int64 { return 0 }, Buffer: func() Buffer {
		made++
		return &kept{make([]byte, l3conn.MaxSegment), made}
	}})
	const n = 100
	for i := range n {
		if _, err := y.Write([]byte{byte(i), 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	_ = y.Close()
	next, keeps := 0, map[*kept]byte{}
	l.Read(func(pkts []Packet) {
		for i := range pkts {
			p := &pkts[i]
			k := p.Buffer.(*kept)
			if _, again := keeps[k]; again {
				t.Errorf("buffer %d was given up and comes again", k.id)
			}
			if &k.b[0] != &p.Data[0] || p.Data[0] != byte(next) {
				t.Errorf("packet %d", next)
			}
			if next%3 == 0 {
				keeps[k] = byte(next)
				p.Buffer = nil
			}
			next++
		}
	})
	if next != n || made != segmentBatch+len(keeps) {
		t.Errorf("%d packets, %d buffers for %d kept", next, made, len(keeps))
	}
	for k, first := range keeps {
		if k.b[0] != first {
			t.Errorf("buffer %d was overwritten", k.id)
		}
	}
}

package l3conntest

import (
	"errors"
	"fmt"
	"syscall"

	"l3extract/l3conn"
)

// bySegments runs s over a link whose ends carry segments wherever they can. It
// writes single packets: what a kernel on the way makes of them may still come
// as segments, of which the suite has none.
func bySegments(s func(l *link)) func(l *link) {
	return func(l *link) {
		l.from, l.to = l.offload(l.from), l.offload(l.to)
		s(l)
	}
}

func canSegments(from, to l3conn.Caps) bool { return from.Offloader != nil || to.Offloader != nil }

// offload enables all that the end of c offers, and returns it with the data
// paths that go through its Offloader.
func (l *link) offload(c l3conn.Caps) l3conn.Caps {
	o := c.Offloader
	if o == nil {
		return c
	}
	if o.SegmentBatch() < 1 {
		l.t.Fatalf("SegmentBatch %d", o.SegmentBatch())
	}
	read, write := o.Offload()
	if err := o.EnableOffload(^read); !errors.Is(err, syscall.EINVAL) {
		l.t.Fatalf("EnableOffload of what is not offered: %v", err)
	}
	if err := o.EnableOffload(read); err != nil {
		l.t.Fatal("EnableOffload:", err)
	}
	if read != 0 {
		refused := make(chan error, 1)
		go func() { // awaited below
			_, err := c.Conn.Read(make([]byte, 65535))
			refused <- err
		}()
		if err := finally(l, refused, "Read after EnableOffload"); !errors.Is(err, syscall.EINVAL) {
			l.t.Fatalf("Read after EnableOffload: %v", err)
		}
	}
	segs := []l3conn.Segment{{Parts: [][]byte{l.packet(1, 100)}, Kind: l3conn.SegmentKind(200)}}
	if n, err := o.WriteSegments(segs); n != 0 || !errors.Is(err, syscall.EINVAL) {
		l.t.Fatalf("WriteSegments of no known kind: %d, %v", n, err)
	}
	if n, err := o.WriteSegments([]l3conn.Segment{{}}); n != 1 || err != nil {
		l.t.Fatalf("WriteSegments of nothing: %d, %v", n, err)
	}
	if n, err := o.ReadSegments(nil); n != 0 || err != nil && !l3conn.Transient(err) {
		l.t.Fatalf("ReadSegments without room: %d, %v", n, err)
	}
	conn := segmentConn{o, read, write}
	c.Conn, c.BatchReader, c.BatchWriter = conn, conn, conn
	return c
}

// segmentConn is an Offloader as a Conn.
type segmentConn struct {
	o           l3conn.Offloader
	read, write l3conn.Features
}

func (c segmentConn) BatchSize() int { return c.o.SegmentBatch() }

func (c segmentConn) Read(b []byte) (int, error) {
	var size [1]int
	n, err := c.ReadBatch([][]byte{b}, size[:])
	if n == 1 && size[0] == 0 && err == nil {
		return 0, l3conn.ErrShortBuffer
	}
	return size[0], err
}

func (c segmentConn) Write(p []byte) (int, error) {
	n, err := c.WriteBatch([][]byte{p})
	return n * len(p), err
}

// ReadBatch cuts its room in odd places.
func (c segmentConn) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	segs := make([]l3conn.Segment, len(bufs))
	for i, b := range bufs {
		segs[i] = l3conn.Segment{Parts: [][]byte{b[:len(b)/3], nil, b[len(b)/3:]}, Size: -1, Kind: 99, Checksum: 99}
	}
	n, err := c.o.ReadSegments(segs)
	for i, s := range segs[:n] {
		sizes[i] = s.Size
		switch {
		case s.Size < 0 || s.Size > len(bufs[i]) || len(s.Parts) != 3:
			return n, fmt.Errorf("ReadSegments left its fields: %+v", s)
		case s.Size > 0 && !c.read.Takes(&s):
			return n, fmt.Errorf("ReadSegments gave what was not enabled: %+v", s)
		}
	}
	return n, err
}

func (c segmentConn) WriteBatch(pkts [][]byte) (int, error) {
	segs := make([]l3conn.Segment, len(pkts))
	for i, p := range pkts {
		segs[i].Parts = [][]byte{p[:len(p)/2], nil, p[len(p)/2:]}
	}
	return c.o.WriteSegments(segs)
}

package tun

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"l3extract/l3conn"
)

// trim returns s with as much of its parts as was read.
func trim(s l3conn.Segment, room [][]byte) l3conn.Segment {
	left := s.Size
	for i, p := range s.Parts {
		room[i] = p[:min(left, len(p))]
		left -= len(room[i])
	}
	s.Parts = room[:len(s.Parts)]
	return s
}

// seen is what a copier saw.
type seen struct {
	largest  atomic.Int64 // bytes of a segment
	segments [4]atomic.Int64
	lost     atomic.Int64 // by WriteSegments
	unread   atomic.Int64 // by ReadSegments
}

// carry writes to one device what it reads from the other, as it is, until one
// is closed.
func carry(t *testing.T, from, to l3conn.Offloader, s *seen) (done chan struct{}) {
	done = make(chan struct{})
	go func() { // ends when a device is closed; awaited by the caller
		defer close(done)
		segs, room := rooms(16), make([][]byte, 2)
		for {
			n, err := from.ReadSegments(segs)
			for _, seg := range segs[:n] {
				if seg.Size == 0 {
					s.unread.Add(1)
					continue
				}
				s.segments[seg.Kind].Add(1)
				s.largest.Store(max(s.largest.Load(), int64(seg.Size)))
				if n, err := to.WriteSegments([]l3conn.Segment{trim(seg, room)}); n != 1 {
					s.lost.Add(1)
					if !l3conn.Transient(err) && !errors.Is(err, net.ErrClosed) {
						t.Error("WriteSegments:", err)
					}
				}
			}
			if err != nil && !l3conn.Transient(err) {
				if !errors.Is(err, net.ErrClosed) {
					t.Error("ReadSegments:", err)
				}
				return
			}
		}
	}()
	return done
}

// joinedHosts are two namespaces, this one and far, with a TUN each between
// which segments are carried verbatim.
type joinedHosts struct {
	far  string
	seen seen
}

func joinHosts(t *testing.T, mtu int) *joinedHosts {
	t.Helper()
	needTUN(t)
	j := &joinedHosts{far: otherNetNS(t)}
	a := mustOpen(t, Config{MTU: mtu, Addrs: prefixes("10.20.0.1/24", "2001:db8:20::1/64")})
	b := mustOpen(t, Config{MTU: mtu, Addrs: prefixes("10.20.0.2/24", "2001:db8:20::2/64"), NetNS: j.far})
	oa, ob := mustOffload(t, a), mustOffload(t, b)
	there, back := carry(t, oa, ob, &j.seen), carry(t, ob, oa, &j.seen)
	t.Cleanup(func() {
		a.Close()
		b.Close()
		<-there
		<-back
	})
	return j
}

// there runs f in the far namespace.
func (j *joinedHosts) there(t *testing.T, f func()) {
	t.Helper()
	if err := inNetNS(j.far, f); err != nil {
		t.Fatal(err)
	}
}

// TestBulk moves data between TCP sockets of two namespaces.
func TestBulk(t *testing.T) {
	size := int64(256 << 20)
	if testing.Short() || raceEnabled {
		size = 16 << 20
	}
	for _, c := range []struct {
		addr string
		kind l3conn.SegmentKind
	}{
		{"10.20.0.2:4000", l3conn.SegmentTCP4}, {"[2001:db8:20::2]:4000", l3conn.SegmentTCP6},
	} {
		t.Run(c.addr, func(t *testing.T) { bulk(t, c.addr, c.kind, size) })
	}
}

func bulk(t *testing.T, addr string, kind l3conn.SegmentKind, size int64) {
	j := joinHosts(t, 1500)
	var listener net.Listener
	var err error
	j.there(t, func() {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		listener, err = lc.Listen(context.Background(), "tcp", addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sums := make(chan [32]byte, 2)
	go func() { // ends with the connection; awaited through sums
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			close(sums)
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(40 * time.Second))
		h := sha256.New()
		if _, err := io.Copy(h, io.LimitReader(conn, size)); err != nil {
			t.Error(err)
		}
		sums <- [32]byte(h.Sum(nil))
		sums <- send(t, conn, size/8, 2)
	}()
	conn, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(40 * time.Second))
	want := send(t, conn, size, 1)
	if got := <-sums; got != want {
		t.Error("other bytes arrived")
	}
	h := sha256.New()
	if _, err := io.Copy(h, conn); err != nil {
		t.Error(err)
	}
	if got := <-sums; got != [32]byte(h.Sum(nil)) {
		t.Error("other bytes came back")
	}
	s := &j.seen
	t.Logf("largest segment %d, single packets %d, segments %d, lost %d",
		s.largest.Load(), s.segments[0].Load(), s.segments[kind].Load(), s.lost.Load())
	if s.largest.Load() <= 1500 || s.segments[kind].Load() == 0 {
		t.Error("no segments were seen")
	}
	if s.unread.Load() > 0 {
		t.Error(s.unread.Load(), "segments were not understood")
	}
}

// send writes size bytes that depend on seed and returns their sum.
func send(t *testing.T, w io.Writer, size int64, seed byte) [32]byte {
	block, h := make([]byte, 1<<20), sha256.New()
	for i := range block {
		seed = seed*37 + byte(i)
		block[i] = seed
	}
	for at := int64(0); at < size; at += int64(len(block)) {
		binary.BigEndian.PutUint64(block, uint64(at))
		h.Write(block)
		if _, err := w.Write(block); err != nil {
			t.Error(err)
			break
		}
	}
	return [32]byte(h.Sum(nil))
}

// TestUDPSegments sends several datagrams by one call (UDP_SEGMENT): they stay
// one segment all the way and are told apart by the receiver's host.
func TestUDPSegments(t *testing.T) {
	for _, addr := range []string{"10.20.0.2:4000", "[2001:db8:20::2]:4000"} {
		t.Run(addr, func(t *testing.T) { udpSegments(t, netip.MustParseAddrPort(addr)) })
	}
}

func udpSegments(t *testing.T, to netip.AddrPort) {
	j := joinHosts(t, 1500)
	var receiver *net.UDPConn
	var err error
	j.there(t, func() { receiver, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to)) })
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	conn := segmentSocket(t, to, 1000)
	payload := bytes.Repeat([]byte("0123456789"), 550)
	if _, err := conn.Write(payload); err != nil {
		t.Fatal(err)
	}
	receiver.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 2000)
	for at := 0; at < len(payload); {
		n, err := receiver.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if want := payload[at:min(at+1000, len(payload))]; !bytes.Equal(buf[:n], want) {
			t.Fatalf("%d bytes, want %d", n, len(want))
		}
		at += n
	}
	if got := j.seen.segments[l3conn.SegmentUDP].Load(); got != 1 {
		t.Error(got, "UDP segments")
	}
}

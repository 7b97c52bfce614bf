package tun

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// mustOffload returns the device's Offloader with all of it enabled.
func mustOffload(t *testing.T, dev *Device) l3conn.Offloader {
	t.Helper()
	o := l3conn.Probe(dev).Offloader
	if o == nil {
		t.Fatal("no Offloader")
	}
	read, write := o.Offload()
	if !read.Has(l3conn.OffloadTCP4|l3conn.OffloadTCP6|l3conn.OffloadChecksum) || read != write {
		t.Fatalf("features %b and %b", read, write)
	}
	if err := o.EnableOffload(read); err != nil {
		t.Fatal(err)
	}
	return o
}

// rooms returns n segments with room for a small and a large one each.
func rooms(n int) []l3conn.Segment {
	segs := make([]l3conn.Segment, n)
	for i := range segs {
		segs[i].Parts = [][]byte{make([]byte, 2048), make([]byte, 64<<10)}
	}
	return segs
}

// segmentSocket sends what is written in datagrams of size bytes.
func segmentSocket(t *testing.T, to netip.AddrPort, size int) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
	if err != nil {
		t.Skip("no UDP_SEGMENT:", err)
	}
	return conn
}

// quiet opens what follows without IPv6, whose host has a word with its routers.
func quiet(t *testing.T) {
	needTUN(t)
	sysctl(t, "ipv6/conf/default/disable_ipv6", "1")
	t.Cleanup(func() { sysctl(t, "ipv6/conf/default/disable_ipv6", "0") })
}

// TestEnable: offload comes and goes, and each way of reading gives only what it
// can give rightly.
func TestEnable(t *testing.T) {
	quiet(t)
	dev := mustOpen(t, Config{Addrs: prefixes("10.21.0.1/24")})
	o := l3conn.Probe(dev).Offloader
	if err := o.EnableOffload(1 << 7); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	to := netip.MustParseAddrPort("10.21.0.2:9")
	conn := segmentSocket(t, to, 1000)
	dev.SetReadDeadline(time.Now().Add(20 * time.Second))
	payload := bytes.Repeat([]byte{7}, 2500)
	buf := make([]byte, 65535)
	read := func() ([]byte, error) { n, err := dev.Read(buf); return buf[:n], err }
	datagram := func(p []byte, err error, size int) {
		t.Helper()
		in := packet.Packet{}
		in.Decode(p)
		if err != nil || !in.ChecksumOK() || in.DstAddrPort() != to || len(in.Payload) != size {
			t.Errorf("%v: %d bytes, to %v, checksum %v", err, len(in.Payload), in.DstAddrPort(), in.ChecksumOK())
		}
	}
	conn.Write(payload) // off: the kernel cuts
	for _, size := range []int{1000, 1000, 500} {
		p, err := read()
		datagram(p, err, size)
	}
	segs := rooms(4)
	conn.Write(payload[:700])
	if n, err := o.ReadSegments(segs); n != 1 || err != nil || segs[0].Checksum != l3conn.ChecksumFull {
		t.Error("ReadSegments without EnableOffload:", n, err, segs[0].Checksum)
	}
	features, _ := o.Offload()
	for _, f := range []l3conn.Features{features, l3conn.OffloadChecksum} {
		if err := o.EnableOffload(f); err != nil {
			t.Fatal(err)
		}
		if _, err := dev.Read(buf); !errors.Is(err, syscall.EINVAL) {
			t.Error("Read:", err)
		}
		if _, err := l3conn.Probe(dev).Reader().ReadBatch([][]byte{buf}, make([]int, 1)); !errors.Is(err, syscall.EINVAL) {
			t.Error("ReadBatch:", err)
		}
	}
	conn.Write(payload)
	for _, size := range []int{1000, 1000, 500} { // the checksum is left to us now
		if n, err := o.ReadSegments(segs[:1]); n != 1 || err != nil || segs[0].Checksum != l3conn.ChecksumPartial {
			t.Fatal(n, err, segs[0].Checksum)
		}
		var c l3conn.Cutter
		if err := c.Reset(&segs[0], segs[0].Size); err != nil {
			t.Fatal(err)
		}
		n, err := c.Next(buf)
		datagram(buf[:n], err, size)
	}
	if !features.Has(l3conn.OffloadUDP) {
		t.Skip("no UDP segments here")
	}
	o.EnableOffload(features)
	conn.Write(payload)
	conn.Write(payload[:800])
	conn.Write(payload)
	conn.Write(payload[:900])
	o.EnableOffload(0)
	// What waits from before is finished where it can be, else lost.
	if _, err := read(); err != l3conn.ErrShortBuffer {
		t.Error("a segment for Read:", err)
	}
	p, err := read()
	datagram(p, err, 800)
	bufs, sizes := [][]byte{buf[:3000], buf[3000:6000]}, make([]int, 2)
	if n, err := l3conn.Probe(dev).Reader().ReadBatch(bufs, sizes); n != 2 || err != nil || sizes[0] != 0 {
		t.Fatal(n, err, sizes)
	}
	datagram(bufs[1][:sizes[1]], nil, 900)
}

func TestSegmentsRefused(t *testing.T) {
	dev := mustOpen(t, Config{Addrs: prefixes("10.22.0.1/24")})
	o := mustOffload(t, dev)
	good := func() l3conn.Segment { return tcpSegment(t, "10.22.0.2:1", "10.22.0.1:2", 3000, 1000) }
	for _, c := range []struct {
		name   string
		change func(s *l3conn.Segment)
		want   error
	}{
		{"as it is", func(s *l3conn.Segment) {}, nil},
		{"nothing", func(s *l3conn.Segment) { *s = l3conn.Segment{} }, nil},
		{"header size", func(s *l3conn.Segment) { s.HeaderSize = 4 }, syscall.EINVAL},
		{"payload size", func(s *l3conn.Segment) { s.PayloadSize = 0 }, syscall.EINVAL},
		{"checksum start", func(s *l3conn.Segment) { s.ChecksumStart = 65535 }, syscall.EINVAL},
		{"kind", func(s *l3conn.Segment) { s.Kind = 77 }, syscall.EINVAL},
		{"other kind", func(s *l3conn.Segment) { s.Kind = l3conn.SegmentTCP6 }, syscall.EINVAL},
		{"no IP", func(s *l3conn.Segment) { *s = l3conn.Segment{Parts: [][]byte{make([]byte, 40)}} }, syscall.EINVAL},
		{"too long", func(s *l3conn.Segment) { s.PayloadSize = 1461 }, l3conn.ErrTooLong},
		{"no segment", func(s *l3conn.Segment) { s.Kind = l3conn.SegmentNone }, l3conn.ErrTooLong},
	} {
		s := good()
		c.change(&s)
		n, err := o.WriteSegments([]l3conn.Segment{good(), s, good()})
		if c.want == nil && (n != 3 || err != nil) || c.want != nil && (n != 1 || !errors.Is(err, c.want)) {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
	}
	dev.SetWriteDeadline(time.Now().Add(-1))
	if n, err := o.WriteSegments([]l3conn.Segment{good()}); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(n, err)
	}
	dev.Close()
	if n, err := o.WriteSegments([]l3conn.Segment{good()}); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Error(n, err)
	}
	if n, err := o.ReadSegments(rooms(1)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Error(n, err)
	}
}

// tcpSegment builds a segment whose partial checksum is what the kernel wants.
func tcpSegment(t *testing.T, src, dst string, n, size int) l3conn.Segment {
	t.Helper()
	h := packet.TCPHeader{
		Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Flags: packet.ACK, TTL: 64,
	}
	b := packet.AppendTCP(nil, h, bytes.Repeat([]byte{9}, n))
	s := l3conn.Segment{Parts: [][]byte{b}, Kind: l3conn.SegmentTCP4, PayloadSize: uint16(size)}
	if h.Src.Addr().Is6() {
		s.Kind = l3conn.SegmentTCP6
	}
	if err := s.ToPartial(len(b)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSegmentsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget on purpose")
	}
	dev := mustOpen(t, Config{Addrs: prefixes("10.23.0.1/24")})
	o := mustOffload(t, dev)
	host := segmentSocket(t, netip.MustParseAddrPort("10.23.0.2:9"), 1000)
	// A segment for nobody: its host answers with RST, which is read.
	s := tcpSegment(t, "10.23.0.2:1", "10.23.0.1:2", 60000, 1000)
	s.Parts = [][]byte{s.Parts[0][:40], s.Parts[0][40:30000], s.Parts[0][30000:]}
	out, in, payload := []l3conn.Segment{s, s}, rooms(8), make([]byte, 5000)
	dev.SetReadDeadline(time.Now().Add(20 * time.Second))
	round := func() {
		if n, err := o.WriteSegments(out); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		host.Write(payload)
		if n, err := o.ReadSegments(in); n == 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	for range 10 {
		round()
	}
	// A garbage collection may empty the pool once.
	if n := testing.AllocsPerRun(200, round); n > 0.5 {
		t.Errorf("%v allocations per round", n)
	}
}

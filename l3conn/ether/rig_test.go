package ether

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/l3conn/checksum"
)

// patience bounds how long a test waits for what must come.
const patience = 20 * time.Second

var (
	guestMAC = MAC{0x52, 0x54, 0, 0, 0, 1}
	otherMAC = MAC{0x52, 0x54, 0, 0, 0, 2}
	gate4    = netip.MustParseAddr("192.168.127.1")
	gate6    = netip.MustParseAddr("fd6c:3365::1")
	guest4   = netip.MustParseAddr("192.168.127.7")
	guest6   = netip.MustParseAddr("fd6c:3365::7")
)

// segment is a Conn whose packets are collected, and the wire to it.
type segment struct {
	t       testing.TB
	conn    *Conn
	wire    *l3conn.PipeEnd
	packets chan []byte
	reading sync.WaitGroup
}

// newSegment makes a Conn; what it says at its beginning has been read.
func newSegment(t testing.TB, c *Config) *segment {
	t.Helper()
	near, far := l3conn.BatchPipe(0, maxFrame, 8)
	conn, err := New(near, c)
	if err != nil {
		t.Fatal(err)
	}
	s := &segment{t: t, conn: conn, wire: far.PipeEnd, packets: make(chan []byte, 1024)}
	s.reading.Go(func() { // ends with conn
		b := make([]byte, MaxMTU)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			s.packets <- bytes.Clone(b[:n])
		}
	})
	t.Cleanup(s.close)
	for range len(conn.own) {
		s.frame()
	}
	if conn.ra != nil {
		s.frame()
	}
	return s
}

func (s *segment) close() {
	s.conn.Close()
	s.wire.Close()
	s.reading.Wait()
}

// send puts a frame on the wire.
func (s *segment) send(to, from MAC, kind uint16, payload []byte) {
	s.t.Helper()
	s.raw(append(appendHeader(nil, to, from, kind), payload...))
}

func (s *segment) raw(f []byte) {
	s.t.Helper()
	if _, err := s.wire.Write(f); err != nil {
		s.t.Fatal(err)
	}
}

// frame returns the next frame of the gateway.
func (s *segment) frame() []byte {
	s.t.Helper()
	b := make([]byte, maxFrame)
	_ = s.wire.SetReadDeadline(time.Now().Add(patience))
	n, err := s.wire.Read(b)
	if err != nil {
		s.t.Fatal("no frame: ", err)
	}
	return b[:n]
}

// packet returns the next packet that the gateway hands on.
func (s *segment) packet() []byte {
	s.t.Helper()
	select {
	case p := <-s.packets:
		return p
	case <-time.After(patience):
		s.t.Fatalf("no packet; %+v", s.conn.Stats())
		return nil
	}
}

// settle waits until all that was sent has been judged, and fails if the gateway has
// said or handed on anything.
func (s *segment) settle() {
	s.t.Helper()
	mark := packet4(netip.MustParseAddr("192.168.127.250"), netip.MustParseAddr("203.0.113.250"), 40)
	s.send(s.conn.MAC(), MAC{0x52, 0x54, 0, 0, 0, 0xff}, typeIPv4, mark)
	if p := s.packet(); !bytes.Equal(p, mark) {
		s.t.Fatalf("a packet was handed on: %x", p)
	}
	if _, err := s.conn.Write(packet4(gate4, netip.MustParseAddr("192.168.127.250"), 40)); err != nil {
		s.t.Fatal(err)
	}
	if f := s.frame(); MAC(f) != (MAC{0x52, 0x54, 0, 0, 0, 0xff}) {
		s.t.Fatalf("the gateway said: %x", f)
	}
}

// packet4 is n bytes of IPv4 that depend on n.
func packet4(src, dst netip.Addr, n int) []byte {
	p := make([]byte, n)
	p[0], p[8], p[9] = 0x45, 64, 253
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	for i := 20; i < n; i++ {
		p[i] = byte(i * n)
	}
	return p
}

// packet6 is n bytes of IPv6.
func packet6(src, dst netip.Addr, n int) []byte {
	p := make([]byte, n)
	p[0], p[6], p[7] = 0x60, 253, 64
	binary.BigEndian.PutUint16(p[4:], uint16(n-40))
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	return p
}

// carriers are the kinds of carriers, each with its two ends.
var carriers = []struct {
	name string
	open func(t testing.TB) (x, y l3conn.Conn)
}{
	{"pipe", func(testing.TB) (x, y l3conn.Conn) { return l3conn.Pipe(0, maxFrame) }},
	{"batches", func(testing.TB) (x, y l3conn.Conn) { return l3conn.BatchPipe(0, maxFrame, 5) }},
	{"direct", func(testing.TB) (x, y l3conn.Conn) {
		return l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{MTU: maxFrame, Direct: true})
	}},
	{"stream", func(t testing.TB) (x, y l3conn.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return must(Stream(a))(t), must(Stream(b))(t)
	}},
	{"udp", func(t testing.TB) (x, y l3conn.Conn) {
		a, b := listen(t, "udp", "127.0.0.1:0"), listen(t, "udp", "127.0.0.1:0")
		return must(Datagram(a, b.LocalAddr()))(t), must(Datagram(b, a.LocalAddr()))(t)
	}},
	{"unixgram", func(t testing.TB) (x, y l3conn.Conn) {
		dir := t.TempDir()
		a, b := listen(t, "unixgram", filepath.Join(dir, "a")), listen(t, "unixgram", filepath.Join(dir, "b"))
		return must(Datagram(a, b.LocalAddr()))(t), must(Datagram(b, a.LocalAddr()))(t)
	}},
}

func listen(t testing.TB, network, address string) net.PacketConn {
	t.Helper()
	c, err := (&net.ListenConfig{}).ListenPacket(context.Background(), network, address)
	if err != nil {
		t.Skip(err) // Windows has no unixgram
	}
	return c
}

func must[C l3conn.Conn](c C, err error) func(t testing.TB) l3conn.Conn {
	return func(t testing.TB) l3conn.Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// ends makes two gateways of one segment that know each other.
func ends(t testing.TB, x, y l3conn.Conn, addrs [2][]netip.Prefix, mtu int) (a, b *Conn) {
	t.Helper()
	var both [2]*Conn
	for i, carrier := range []l3conn.Conn{x, y} {
		c, err := New(carrier, &Config{
			MAC: MAC{2, 0, 0, 0, 0, byte(i + 1)}, Addrs: addrs[i], MTU: mtu,
			DHCP: DHCPConfig{Off: true}, RA: RAConfig{Off: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		both[i] = c
	}
	for i, c := range both {
		peer := both[1-i]
		for _, a := range peer.own {
			c.table.claim(a, peer.MAC(), false, c.now())
		}
	}
	return both[0], both[1]
}

package datagram

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/l3conn"
)

// packet is n bytes that are an IPv4 packet as far as its length goes.
func packet(seed, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(seed*131 + i*7)
	}
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	return p
}

// readPast reads with a deadline that has long passed for what is there, and returns
// the packets that are.
func readPast(t *testing.T, c *Conn) (pkts [][]byte) {
	t.Helper()
	buf := make([]byte, 1<<16)
	for {
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return pkts
		}
		if err != nil {
			t.Fatal(err)
		}
		pkts = append(pkts, bytes.Clone(buf[:n]))
	}
}

// TestStrangers: a datagram from elsewhere is not the peer's, fast and slow.
func TestStrangers(t *testing.T) {
	for _, fast := range []bool{true, false} {
		x, friend, foe := listen(t, "127.0.0.1"), listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
		defer friend.Close()
		defer foe.Close()
		var pc net.PacketConn = x
		if !fast {
			pc = slow{x}
		}
		c := must(New(pc, &Config{Peer: friend.LocalAddr()}))(t)
		for i := range 3 {
			foe.WriteTo(packet(99, 40), x.LocalAddr())
			friend.WriteTo(packet(i, 40+i), x.LocalAddr())
		}
		got := readPast(t, c)
		if len(got) != 3 || !bytes.Equal(got[2], packet(2, 42)) || c.Stats().Strangers != 3 {
			t.Errorf("fast %v: %d packets, %+v", fast, len(got), c.Stats())
		}
	}
}

// TestLearn: the first to send a packet is the peer, what is no packet makes nobody
// one, and only Roam lets it move.
func TestLearn(t *testing.T) {
	for _, roam := range []bool{false, true} {
		x, one, two, evil := listen(t, "127.0.0.1"), listen(t, "127.0.0.1"), listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
		for _, s := range []*net.UDPConn{one, two, evil} {
			defer s.Close()
		}
		c := must(New(x, &Config{Roam: roam, Admit: func(from net.Addr, p []byte) bool {
			return from.String() != evil.LocalAddr().String()
		}}))(t)
		if _, err := c.Write(packet(1, 40)); !errors.Is(err, l3conn.ErrDown) || c.Peer() != nil {
			t.Errorf("Write to nobody: %v", err)
		}
		two.WriteTo([]byte("hello"), x.LocalAddr())          // no packet
		two.WriteTo(packet(1, 40)[:39], x.LocalAddr())       // a part of one
		evil.WriteTo(packet(1, 40), x.LocalAddr())           // not admitted
		one.WriteTo(packet(2, 40), x.LocalAddr())            // the peer
		two.WriteTo(packet(3, 40), x.LocalAddr())            // elsewhere
		evil.WriteTo(packet(1, 40), x.LocalAddr())           // not admitted now either
		got, s, peer := readPast(t, c), c.Stats(), one       // of whom Write knows
		want := Stats{Strangers: 5, NoPeer: 1, PacketsIn: 1} // without Roam
		if roam {
			want, peer = Stats{Strangers: 4, Roamed: 1, NoPeer: 1, PacketsIn: 2}, two
		}
		if uint64(len(got)) != want.PacketsIn || s.Strangers != want.Strangers || s.Roamed != want.Roamed || s.NoPeer != 1 {
			t.Errorf("roam %v: %d packets, %+v", roam, len(got), s)
		}
		if c.Peer().String() != peer.LocalAddr().String() {
			t.Errorf("roam %v: the peer is %v", roam, c.Peer())
		}
		if _, err := c.Write(packet(7, 50)); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 100)
		_ = peer.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, _, err := peer.ReadFrom(buf); err != nil || !bytes.Equal(buf[:n], packet(7, 50)) {
			t.Error(n, err)
		}
	}
}

// TestNobodyListens: that a port is closed is no reason to give up, since somebody may
// open it.
func TestNobodyListens(t *testing.T) {
	for _, batch := range []bool{true, false} {
		y := listen(t, "127.0.0.1")
		addr := y.LocalAddr().(*net.UDPAddr)
		x, err := net.DialUDP("udp", nil, addr)
		if err != nil {
			t.Fatal(err)
		}
		y.Close()
		var stream net.Conn = x
		if !batch {
			stream = struct{ net.Conn }{x}
		}
		c := must(NewConnected(stream, nil))(t)
		for range 20 {
			if _, err := c.Write(packet(1, 40)); err != nil && !l3conn.Transient(err) {
				t.Fatal(err)
			}
		}
		if got := readPast(t, c); len(got) > 0 {
			t.Error("packets out of nothing")
		}
		if runtime.GOOS == "linux" && c.Stats().Refused == 0 {
			t.Errorf("%+v", c.Stats())
		}
		y, err = net.ListenUDP("udp", addr)
		if err != nil {
			t.Skip("somebody else took the port: ", err)
		}
		defer y.Close()
		for range 3 {
			if _, err := c.Write(packet(2, 40)); err != nil {
				t.Fatal(err)
			}
		}
		_ = y.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, _, err := y.ReadFrom(make([]byte, 100)); n != 40 || err != nil {
			t.Error(n, err)
		}
	}
}

// faulty is a socket whose calls fail as they are told.
type faulty struct {
	net.Conn
	reads, writes []error // nil: a packet
}

func (f *faulty) RemoteAddr() net.Addr { return nil }

func (f *faulty) Read(b []byte) (int, error) {
	if len(f.reads) == 0 {
		return 0, net.ErrClosed
	}
	err := f.reads[0]
	f.reads = f.reads[1:]
	if err != nil {
		return 0, &net.OpError{Op: "read", Err: err}
	}
	return copy(b, packet(1, 40)), nil
}

func (f *faulty) Write(b []byte) (int, error) {
	err := f.writes[0]
	f.writes = f.writes[1:]
	return len(b), err
}

// TestFaultsPass runs through the errors that a socket knows: each is counted by cause,
// and those that pass do not end the conn.
func TestFaultsPass(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has numbers of its own")
	}
	refused := func(s Stats) uint64 { return s.Refused }
	unreachable := func(s Stats) uint64 { return s.Unreachable }
	for _, tc := range []struct {
		err   error
		says  error // of a Write; nil: the end
		count func(Stats) uint64
	}{
		{syscall.ECONNREFUSED, l3conn.ErrDown, refused},
		{syscall.EHOSTUNREACH, l3conn.ErrDown, unreachable},
		{syscall.ENETUNREACH, l3conn.ErrDown, unreachable},
		{syscall.ENETDOWN, l3conn.ErrDown, unreachable},
		{syscall.ENOBUFS, l3conn.ErrNoBuffers, func(s Stats) uint64 { return s.NoBuffers }},
		{syscall.EPERM, l3conn.ErrDown, func(s Stats) uint64 { return s.Denied }},
		{syscall.EMSGSIZE, l3conn.ErrTooLong, func(s Stats) uint64 { return s.TooLong + s.Short }},
		{syscall.EBADF, nil, nil},
		{syscall.EPIPE, nil, nil},
	} {
		f := &faulty{reads: []error{tc.err, nil, tc.err, tc.err, nil}, writes: []error{tc.err, tc.err, nil}}
		c, err := NewConnected(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.Write(packet(1, 40))
		if tc.says == nil {
			if n != 0 || !errors.Is(err, tc.err) || l3conn.Transient(err) {
				t.Errorf("%v: Write: %d, %v", tc.err, n, err)
			}
			if _, err := c.Read(make([]byte, 100)); !errors.Is(err, tc.err) || l3conn.Transient(err) {
				t.Errorf("%v: Read: %v", tc.err, err)
			}
			continue
		}
		if n != 0 || !errors.Is(err, tc.says) {
			t.Errorf("%v: Write: %d, %v", tc.err, n, err)
		}
		for range 2 {
			if n, err := c.Read(make([]byte, 100)); n != 40 || err != nil {
				t.Errorf("%v: Read: %d, %v", tc.err, n, err)
			}
		}
		if _, err := c.Read(make([]byte, 100)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v: Read after the end: %v", tc.err, err)
		}
		want := uint64(4)
		if tc.err == syscall.ECONNREFUSED {
			want = 5 // a Write that hears of it tries again
		}
		if got := tc.count(c.Stats()); got != want {
			t.Errorf("%v: counted %d times, want %d", tc.err, got, want)
		}
	}
	f := &faulty{}
	for range 2 * maxFaults {
		f.reads = append(f.reads, syscall.ECONNREFUSED)
	}
	c, _ := NewConnected(f, nil)
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, syscall.ECONNREFUSED) || l3conn.Transient(err) {
		t.Errorf("a socket that spins: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		field     string
		connected bool
		cfg       Config
	}{
		{"MTU", false, Config{MTU: 67}},
		{"MTU", true, Config{MTU: 65508}},
		{"Peer", true, Config{Peer: &net.UDPAddr{}}},
		{"Roam", true, Config{Roam: true}},
		{"Admit", true, Config{Admit: func(net.Addr, []byte) bool { return true }}},
	} {
		var err error
		if c.connected {
			_, err = NewConnected(&faulty{}, &c.cfg)
		} else {
			_, err = New(nil, &c.cfg)
		}
		if err == nil || !strings.Contains(err.Error(), "Config."+c.field) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

// FuzzPlausible: what is taken for a packet is at least a header, and as long as it says.
func FuzzPlausible(f *testing.F) {
	f.Add(packet(1, 40))
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 1}, make([]byte, 35)...))
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, p []byte) {
		if !plausible(p) {
			return
		}
		if plausible(p[:len(p)-1]) || plausible(append(bytes.Clone(p), 0)) {
			t.Fatal("two lengths are right")
		}
		if p[0]>>4 == 4 && len(p) < 20 || p[0]>>4 == 6 && len(p) < 40 || p[0]>>4 != 4 && p[0]>>4 != 6 {
			t.Fatal("no header")
		}
	})
}

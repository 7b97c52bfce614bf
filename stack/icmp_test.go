package stack

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/tcp"
)

// tap passes packets between two conns of which the test sees and forges some.
type tap struct {
	a, b *l3conn.PipeEnd
	see  func(p *packet.Packet, fromA bool)
}

// tapped returns the outer ends of two pipes with a tap between them.
func tapped(t testing.TB, see func(p *packet.Packet, fromA bool)) (x, y *l3conn.PipeEnd, tp *tap) {
	x, a := l3conn.Pipe(0, 0)
	y, b := l3conn.Pipe(0, 0)
	tp = &tap{a, b, see}
	done := make(chan struct{}, 2)
	copyAll := func(from, to *l3conn.PipeEnd, fromA bool) {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 65536)
		var p packet.Packet
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if p.Decode(buf[:n]) == drop.None {
				tp.see(&p, fromA)
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go copyAll(a, b, true)
	go copyAll(b, a, false)
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
		<-done
		<-done
	})
	return x, y, tp
}

// TestSpoofedTooBig: "fragmentation needed" that does not quote what is in
// flight, or asks for an absurd MTU, changes nothing; one that does is believed.
func TestSpoofedTooBig(t *testing.T) {
	for _, to := range []string{"198.51.100.7:80", "[2001:db8::7]:80"} {
		var mu sync.Mutex
		var last packet.Packet // the client's last data segment
		longest := 0           // payload since the last call of send
		x, y, tp := tapped(t, func(p *packet.Packet, fromA bool) {
			if fromA && len(p.Payload) > 0 {
				mu.Lock()
				longest = max(longest, len(p.Payload))
				_ = last.Decode(bytes.Clone(p.Raw))
				mu.Unlock()
			}
		})
		c, s := pairOn(t, x, y, Config{}, Config{})
		streams := s.TCP().Streams()
		conn, err := c.DialContext(soon(t), "tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		a, b := conn.(*tcp.Stream), <-streams
		// send returns the longest segment that carried 20 000 bytes.
		send := func() int {
			t.Helper()
			mu.Lock()
			longest = 0
			mu.Unlock()
			data := bytes.Repeat([]byte("x"), 20_000)
			if _, err := a.Write(data); err != nil {
				t.Fatal(err)
			}
			if _, err := readFull(b, len(data)); err != nil {
				t.Fatal(err)
			}
			mu.Lock() // the reader has it all, so the tap has seen it
			defer mu.Unlock()
			return longest
		}
		full := send()
		router := netip.MustParseAddr("192.0.2.1")
		least := leastPathMTU4
		if last.Version == 6 {
			router, least = netip.MustParseAddr("2001:db8::1"), leastPathMTU6
		}
		forge := func(seq uint32, mtu int) {
			t.Helper()
			// The quoted packet is built anew, so that it is right but for what is forged.
			q := packet.AppendTCP(nil, packet.TCPHeader{Src: last.SrcAddrPort(), Dst: last.DstAddrPort(), Seq: seq, Flags: packet.ACK}, nil)
			e := packet.AppendICMPError(nil, router, packet.TooBig, q, mtu)
			if _, err := tp.a.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		count := func(cause drop.Cause) uint64 { return c.drops.Load(cause) }
		forge(last.Seq+1<<30, least) // never sent
		forge(last.Seq-1<<24, least) // long acknowledged
		wait := soon(t)
		for count(drop.ICMPSequence) < 2 && wait.Err() == nil {
		}
		// Data in flight is needed for a right sequence number; the next byte will do.
		next := last.Seq + uint32(len(last.Payload))
		forge(next, least-1)
		forge(next, 0)
		forge(next, 1500)
		for count(drop.ICMPMTU) < 3 && wait.Err() == nil {
		}
		if wait.Err() != nil {
			t.Fatalf("forged errors were not counted: %v", c.Stats().Drops)
		}
		if now := send(); now != full {
			t.Errorf("%s: spoofed errors made segments of %d bytes, were %d", to, now, full)
		}
		next = last.Seq + uint32(len(last.Payload))
		forge(next, least)
		now := full
		for now == full { // another goroutine hands the believed error on
			now = send()
		}
		if now >= least {
			t.Errorf("%s: a true error made segments of %d bytes", to, now)
		}
		_ = a.Close()
		_ = b.Close()
	}
}

func readFull(s *tcp.Stream, n int) ([]byte, error) {
	b := make([]byte, n)
	for got := 0; got < n; {
		m, err := s.Read(b[got:])
		if err != nil {
			return b[:got], err
		}
		got += m
	}
	return b, nil
}

// TestEcho: own addresses answer pings of both families, foreign ones as
// configured.
func TestEcho(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		echo     Echo
		answered bool
	}{
		{"10.0.0.2", "10.0.0.1", EchoOff, true},
		{"fd00::2", "fd00::1", EchoOff, true},
		{"10.0.0.2", "198.51.100.7", EchoOff, false},
		{"fd00::2", "2001:db8::7", EchoOff, false},
		{"10.0.0.2", "198.51.100.7", EchoForward, false}, // to nobody
		{"fd00::2", "2001:db8::7", EchoForward, false},
		{"10.0.0.2", "198.51.100.7", EchoLocal, true},
		{"fd00::2", "2001:db8::7", EchoLocal, true},
	} {
		x, y := l3conn.Pipe(0, 0)
		s := newStack(t, x, Config{Addrs: serverAddrs, ICMP: ICMPConfig{Echo: tc.echo}})
		from, to := netip.MustParseAddr(tc.from), netip.MustParseAddr(tc.to)
		if _, err := y.Write(echoRequest(from, to, []byte("payload"))); err != nil {
			t.Fatal(err)
		}
		if !tc.answered {
			for ctx := soon(t); s.drops.Load(drop.EchoOff) == 0; {
				if ctx.Err() != nil {
					t.Fatalf("ping to %v was not counted", to)
				}
			}
			continue
		}
		b := make([]byte, 1500)
		n, err := y.Read(b)
		var p packet.Packet
		if err != nil || p.Decode(b[:n]) != drop.None || !p.ChecksumOK() {
			t.Fatalf("ping %v: %v", to, err)
		}
		if p.Src != to || p.Dst != from || p.ICMPRest != 0x12340001 || string(p.Payload) != "payload" {
			t.Errorf("ping %v: answer from %v to %v, id and sequence %#x, payload %q", to, p.Src, p.Dst, p.ICMPRest, p.Payload)
		}
	}
}

// echoRequest is made of the reply to a reply: the builders know no request.
func echoRequest(from, to netip.Addr, payload []byte) []byte {
	// An empty UDP packet gives the IP header; the ICMP message is written by hand.
	raw := packet.AppendUDP(nil, netip.AddrPortFrom(from, 1), netip.AddrPortFrom(to, 1), 0, 0, payload)
	var p packet.Packet
	_ = p.Decode(raw)
	msg := raw[p.HeaderLen:]
	proto, typ := packet.ICMPv4, packet.EchoRequest4
	if p.Version == 6 {
		proto, typ = packet.ICMPv6, packet.EchoRequest6
	}
	copy(msg, []byte{typ, 0, 0, 0, 0x12, 0x34, 0, 1})
	if p.Version == 4 {
		raw[9], raw[10], raw[11] = proto, 0, 0
		put(raw[10:], ^packet.Checksum(raw[:p.HeaderLen], 0))
		put(msg[2:], ^packet.Checksum(msg, 0))
	} else {
		raw[6] = proto
		put(msg[2:], ^packet.Checksum(msg, packet.PseudoHeader(from, to, proto, len(msg))))
	}
	return raw
}

func put(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

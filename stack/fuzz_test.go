package stack

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/link"
	"l3extract/internal/packet"
	"l3extract/tcp"
	"l3extract/udp"
)

// wire is a conn whose Write never waits; it notes the sequence numbers of what
// the stack sends, as a peer must know them.
type wire struct {
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	known map[netip.AddrPort]*peer // by the client's end
}

// peer is what a client knows of its connection.
type peer struct {
	iss, next, una uint32 // of the stack's side: its first and next sequence number; ours that it acknowledged
	answered       chan struct{}
	data           int // bytes received
}

func (w *wire) Read([]byte) (int, error) {
	<-w.closed
	return 0, io.EOF
}

func (w *wire) Write(b []byte) (int, error) {
	var p packet.Packet
	if p.Decode(b) != drop.None || p.Proto != packet.TCP || p.Fragment {
		return len(b), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.known[p.DstAddrPort()]
	if c == nil {
		return len(b), nil
	}
	if p.Flags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK && c.iss != p.Seq {
		c.iss, c.next = p.Seq, p.Seq+1
		close(c.answered)
		c.answered = make(chan struct{})
	}
	if n := uint32(len(p.Payload)); p.Seq == c.next {
		c.next += n
		c.data += int(n)
	}
	if p.Flags&packet.ACK != 0 {
		c.una = p.Ack
	}
	return len(b), nil
}

func (w *wire) DirectWrite() {}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wire) peer(client netip.AddrPort) *peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.known[client]
	if c == nil {
		c = &peer{answered: make(chan struct{})}
		w.known[client] = c
	}
	return c
}

// state returns what client knows now.
func (w *wire) state(client netip.AddrPort) peer {
	c := w.peer(client)
	w.mu.Lock()
	defer w.mu.Unlock()
	return *c
}

// fuzzFlows are the connections that live while the fuzzer's packets arrive.
var fuzzFlows = [...]struct{ client, server netip.AddrPort }{
	{netip.MustParseAddrPort("192.0.2.9:1000"), netip.MustParseAddrPort("198.51.100.7:80")},
	{netip.MustParseAddrPort("[2001:db8:1::9]:1000"), netip.MustParseAddrPort("[2001:db8::7]:80")},
	{netip.MustParseAddrPort("192.0.2.9:1001"), netip.MustParseAddrPort("10.0.0.1:8080")},
	{netip.MustParseAddrPort("192.0.2.9:1002"), netip.MustParseAddrPort("198.51.100.8:443")},
}

const fuzzISN = 5000

// connectFuzz makes a connection by hand.
func connectFuzz(t testing.TB, s *Stack, w *wire, client, server netip.AddrPort) {
	t.Helper()
	c := w.peer(client)
	w.mu.Lock()
	answered := c.answered
	w.mu.Unlock()
	h := packet.TCPHeader{Src: client, Dst: server, Seq: fuzzISN - 1, Flags: packet.SYN, Window: 65535,
		Options: []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}}
	s.deliver(inbound(packet.AppendTCP(nil, h, nil)))
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	select {
	case <-answered:
	case <-late.C:
		t.Fatalf("no answer to the SYN from %v: %v", client, s.Stats().Drops)
	}
	h.Seq, h.Ack, h.Flags = fuzzISN, w.state(client).next, packet.ACK
	h.Options = []byte{1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1}
	s.deliver(inbound(packet.AppendTCP(nil, h, nil)))
}

// inbound is raw as the link delivers it.
func inbound(raw ...[]byte) []link.Packet {
	pkts := make([]link.Packet, len(raw))
	for i, b := range raw {
		pkts[i].Data = b
	}
	return pkts
}

// script reads a fuzzer's input piece by piece; it gives zeros at its end.
type script struct{ b []byte }

func (s *script) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(s.b))
	c := s.b[:n]
	s.b = s.b[n:]
	return c
}

func (s *script) uint16() uint16 { return uint16(s.byte())<<8 | uint16(s.byte()) }

// near returns a number close to base, or far away.
func (s *script) near(base uint32) uint32 {
	switch d := s.uint16(); s.byte() % 4 {
	case 0:
		return base
	case 1:
		return base + uint32(int32(int16(d)))
	case 2:
		return base + uint32(d)<<16
	default:
		return base + uint32(d)<<5
	}
}

// mend makes lengths and checksums of pkt right, so that it passes the door if
// the rest does.
func mend(pkt []byte) []byte {
	if len(pkt) < 20 {
		return pkt
	}
	if pkt[0]>>4 != 6 {
		pkt[0] = 0x40 | pkt[0]&15
		if h := int(pkt[0]&15) * 4; h >= 20 && h <= len(pkt) {
			binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
			pkt[10], pkt[11] = 0, 0
			binary.BigEndian.PutUint16(pkt[10:], ^packet.Checksum(pkt[:h], 0))
		}
	} else if len(pkt) >= 40 {
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
	}
	var p packet.Packet
	if p.Decode(pkt) != drop.None || p.Fragment {
		return pkt
	}
	at, pseudo := 0, packet.PseudoHeader(p.Src, p.Dst, p.Proto, len(p.L4))
	switch p.Proto {
	case packet.TCP:
		at = 16
	case packet.UDP:
		at = 6
	case packet.ICMPv4:
		at, pseudo = 2, 0
	case packet.ICMPv6:
		at = 2
	default:
		return pkt
	}
	p.L4[at], p.L4[at+1] = 0, 0
	binary.BigEndian.PutUint16(p.L4[at:], ^packet.Checksum(p.L4, pseudo))
	return pkt
}

// next returns the packets of the script's next step.
func (s *script) next(w *wire) (pkts [][]byte) {
	f := fuzzFlows[s.byte()%byte(len(fuzzFlows))]
	st := w.state(f.client)
	segment := func(flags byte) packet.TCPHeader {
		h := packet.TCPHeader{
			Src: f.client, Dst: f.server, Flags: flags, Window: s.uint16(),
			Seq: s.near(max(st.una, fuzzISN)), Ack: s.near(st.next),
		}
		if n := int(s.byte()%11) * 4; n > 0 {
			h.Options = append(bytes.Clone(s.bytes(n)), make([]byte, n)...)[:n]
		} else {
			h.Options = []byte{1, 1, 8, 10, 0, 0, s.byte(), s.byte(), 0, 0, 0, 1}
		}
		return h
	}
	switch s.byte() % 9 {
	case 0, 1: // a segment of a live connection
		pkts = append(pkts, packet.AppendTCP(nil, segment(s.byte()), s.bytes(int(s.byte()))))
	case 2: // from a new port
		h := segment(s.byte())
		h.Src = netip.AddrPortFrom(h.Src.Addr(), 2000+uint16(s.byte()))
		pkts = append(pkts, packet.AppendTCP(nil, h, s.bytes(int(s.byte()))))
	case 3: // anything that the door lets in
		pkts = append(pkts, mend(bytes.Clone(s.bytes(int(s.uint16()%2000)))))
	case 4: // an ICMP error about a live connection
		h := segment(packet.ACK)
		h.Src, h.Dst, h.Seq = h.Dst, h.Src, h.Ack
		q := packet.AppendTCP(nil, h, nil)
		router := netip.MustParseAddr("192.0.2.1")
		if f.client.Addr().Is6() {
			router = netip.MustParseAddr("2001:db8::1")
		}
		pkts = append(pkts, packet.AppendICMPError(nil, router, packet.Unreachable(s.byte()%8), q, int(s.uint16())))
	case 5: // fragments, in any order and number
		pkt := packet.AppendTCP(nil, segment(s.byte()), make([]byte, s.uint16()%4000))
		if s.byte()%2 == 0 {
			pkt = packet.AppendUDP(nil, f.client, f.server, 64, 0, make([]byte, s.uint16()%4000))
		}
		var frags [][]byte
		mtu := 68 + int(s.uint16()%1400)
		_ = packet.Fragment(pkt, mtu, uint32(s.byte()%4), func(b []byte) { frags = append(frags, bytes.Clone(b)) })
		for range s.byte() % 16 {
			if len(frags) > 0 {
				b := bytes.Clone(frags[int(s.byte())%len(frags)])
				if s.byte()%4 == 0 { // another offset
					b[6] ^= s.byte()
					b[7] ^= s.byte()
				}
				pkts = append(pkts, mend(b))
			}
		}
	case 6: // datagrams
		pkts = append(pkts, packet.AppendUDP(nil, f.client, netip.AddrPortFrom(f.server.Addr(), max(s.uint16(), 1)), 64, 0, s.bytes(int(s.byte()))))
	case 7: // options or extension headers in front of a segment
		pkt := packet.AppendTCP(nil, segment(s.byte()), s.bytes(int(s.byte())))
		if len(pkt) == 0 {
			return nil
		}
		n := int(s.byte()%10+1) * 4
		if pkt[0]>>4 == 4 {
			opts := append(bytes.Clone(s.bytes(n)), make([]byte, n)...)[:n]
			pkt = append(append(bytes.Clone(pkt[:20]), opts...), pkt[20:]...)
			pkt[0] = 0x40 | byte(5+n/4)
		} else {
			n = (n + 7) / 8 * 8
			opts := append(bytes.Clone(s.bytes(n)), make([]byte, n)...)[:n]
			opts[0], opts[1] = pkt[6], byte(n/8-1)
			pkt = append(append(bytes.Clone(pkt[:40]), opts...), pkt[40:]...)
			pkt[6] = []byte{0, 43, 44, 60, 51}[s.byte()%5]
		}
		pkts = append(pkts, mend(pkt))
	case 8:
		pkts = s.control(f.client.Addr(), f.server.Addr())
	}
	return pkts
}

// control returns a ping, an ICMP message or a packet of another protocol, with any
// number of hops, to anybody or to the Stack, whole or in fragments.
func (s *script) control(from, to netip.Addr) (pkts [][]byte) {
	if s.byte()%2 == 0 {
		to = serverAddrs[0].Addr()
		if from.Is6() {
			to = serverAddrs[1].Addr()
		}
	}
	ttl, proto := s.byte(), s.byte()
	body := append(bytes.Clone(s.bytes(int(s.byte()))), make([]byte, s.uint16()%3000)...)
	pkt := packet.AppendEcho(nil, packet.EchoHeader{Src: from, Dst: to, TTL: ttl, ID: s.uint16(), Seq: s.uint16(), Reply: s.byte()%4 == 0}, body)
	if s.byte()%2 == 0 {
		pkt = packet.AppendIP(nil, from, to, proto, ttl, 0, body)
	}
	if s.byte()%2 == 0 {
		return append(pkts, pkt)
	}
	_ = packet.Fragment(pkt, 68+int(s.uint16()%1400), uint32(s.byte()), func(b []byte) {
		if s.byte()%8 != 0 {
			pkts = append(pkts, bytes.Clone(b))
		}
	})
	return pkts
}

// FuzzStack delivers what the fuzzer wants, past the conn, to a Stack with live
// connections. Nothing may panic in any goroutine, and the Stack must serve a new
// client afterwards and end in order.
func FuzzStack(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 6, 7}, 40))
	for step := range byte(9) {
		seed := bytes.Repeat([]byte{1, step, 0x10, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1, 2, 3, 4}, 12)
		f.Add(seed)
	}
	for _, flags := range []byte{packet.RST, packet.FIN | packet.ACK, packet.SYN, packet.SYN | packet.ACK, packet.ACK} {
		for flow := range byte(4) {
			f.Add([]byte{flow, 0, flags, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8})
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &wire{closed: make(chan struct{}), known: make(map[netip.AddrPort]*peer)}
		s, err := New(w, &Config{
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")},
			UDP:   udp.Config{Mapping: udp.PerFlow},
		})
		if err != nil {
			t.Fatal(err)
		}
		var app sync.WaitGroup
		app.Go(func() { // ends with s
			for e := range s.ICMP().Echoes() {
				_ = e.Reply()
				_ = e.TimeExceeded(e.Destination)
			}
		})
		for _, network := range []string{"ip4:gre", "ip6:gre", "ip4:icmp", "ip6:ipv6-icmp"} {
			pc, err := s.ListenPacket(background, network, "")
			if err != nil {
				t.Fatal(err)
			}
			app.Go(func() { // ends with s
				for b := make([]byte, 1<<16); err == nil; {
					_, _, err = pc.ReadFrom(b)
				}
			})
		}
		l, err := s.Listen(background, "tcp", ":8080")
		if err != nil {
			t.Fatal(err)
		}
		streams := s.TCP().Streams()
		app.Go(func() { // ends with s
			n := 0
			for c := range streams {
				mode := n % 3
				app.Go(func() { serveFuzz(c, mode) }) // ends with s
				n++
			}
		})
		app.Go(func() { // ends with s
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.(*tcp.Stream).CloseRead() // the closer's and the flusher's paths
				_, _ = c.Write(make([]byte, 100_000))
				_ = c.Close()
			}
		})
		app.Go(func() { // ends with s
			for {
				sock, err := s.UDP().AcceptSocket(background)
				if err != nil {
					return
				}
				_ = sock
			}
		})
		ran := make(chan error, 1)
		go func() { ran <- s.Run(background) }() // ends by Close
		<-s.started
		for _, f := range fuzzFlows {
			connectFuzz(t, s, w, f.client, f.server)
		}
		in := &script{b}
		for range 64 {
			if len(in.b) == 0 {
				break
			}
			s.deliver(inbound(in.next(w)...))
		}
		fresh := netip.MustParseAddrPort("203.0.113.77:4000")
		connectFuzz(t, s, w, fresh, fuzzFlows[0].server)
		closed := make(chan struct{})
		go func() { // ends, or the test fails
			defer close(closed)
			_ = s.Close()
		}()
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatal("Close does not return")
		}
		if err := <-ran; err != nil {
			t.Fatal(err)
		}
		app.Wait()
		if n := s.flows.Len(); n != 0 {
			t.Fatalf("%d flows left", n)
		}
		if u := s.Stats().Memory; u.Receive+u.Send+u.WriteBuffer+u.Datagram != 0 {
			t.Fatalf("memory left: %+v", u)
		}
	})
}

// serveFuzz is an application: an echo, a reader by WriteTo, one that only peeks.
func serveFuzz(c *tcp.Stream, mode int) {
	defer func() { _ = c.Close() }()
	switch mode {
	case 0:
		_, _ = io.Copy(c, c)
	case 1:
		_, _ = c.WriteTo(io.Discard)
		_ = c.CloseWrite()
	case 2:
		buf := make([]byte, 2048)
		for {
			if n, err := c.Peek(buf[:1]); n == 0 || err != nil {
				return
			}
			_, _ = c.Read(buf)
		}
	}
}

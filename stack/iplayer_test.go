package stack

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/link"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// outside is what lies behind the packet conn of one stack: packets made by hand.
type outside struct {
	*Stack
	t    *testing.T
	wire *l3conn.PipeEnd
}

func newOutside(t *testing.T, cfg Config) outside {
	t.Helper()
	x, y := l3conn.Pipe(0, cfg.MTU)
	return outside{newStack(t, x, cfg), t, y}
}

const lastWord = "that was all"

// ask sends pkts and returns what comes back, but for the answer to a ping of our
// own that follows them.
func (o outside) ask(pkts ...[]byte) (answers []*packet.Packet) {
	o.t.Helper()
	last := echoRequest(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1"), []byte(lastWord))
	for _, b := range append(slices.Clone(pkts), last) {
		if _, err := o.wire.Write(b); err != nil {
			o.t.Fatal(err)
		}
	}
	for {
		p := o.next()
		if string(p.Payload) == lastWord {
			return answers
		}
		answers = append(answers, p)
	}
}

// next returns the next packet out.
func (o outside) next() *packet.Packet {
	o.t.Helper()
	buf := make([]byte, 65535)
	n, err := o.wire.Read(buf)
	if err != nil {
		o.t.Fatal(err)
	}
	p := new(packet.Packet)
	if c := p.Decode(buf[:n]); c != drop.None || !p.ChecksumOK() {
		o.t.Fatalf("bad packet out: %v", c)
	}
	return p
}

// fragments returns the fragments of whole.
func fragments(t *testing.T, whole []byte, mtu int, id uint32) (all [][]byte) {
	t.Helper()
	if whole[0]>>4 == 4 {
		whole = bytes.Clone(whole)
		whole[6] &^= 0x40 // no DF
		whole = mend(whole)
	}
	if err := packet.Fragment(whole, mtu, id, func(b []byte) { all = append(all, bytes.Clone(b)) }); err != nil {
		t.Fatal(err)
	}
	if len(all) < 2 {
		t.Fatal("not fragmented")
	}
	return all
}

// extended puts options into pkt: those of IPv4, or an IPv6 extension header of
// that kind.
func extended(pkt []byte, kind byte) []byte {
	if pkt[0]>>4 == 4 {
		out := slices.Concat(pkt[:20], []byte{1, 1, 1, 0}, pkt[20:])
		out[0] = 0x46
		return mend(out)
	}
	out := slices.Concat(pkt[:40], []byte{pkt[6], 0, 1, 4, 0, 0, 0, 0}, pkt[40:])
	if kind == 43 { // routing, no segments left
		copy(out[42:], []byte{0, 0, 0, 0, 0, 0})
	}
	out[6] = kind
	return mend(out)
}

// authenticated puts an AH (RFC 4302) in front of pkt's transport header.
func authenticated(pkt []byte) []byte {
	at, next := 20, 9
	if pkt[0]>>4 == 6 {
		at, next = 40, 6
	}
	ah := make([]byte, 16)
	ah[0], ah[1] = pkt[next], 2
	out := slices.Concat(pkt[:at], ah, pkt[at:])
	out[next] = 51
	return mend(out)
}

// TestIPLayer: what needs the engine's IP layer, because it is in fragments or has
// options or extension headers, is served like what does not, once.
func TestIPLayer(t *testing.T) {
	for _, ends := range [][2]string{
		{"10.0.0.2", "10.0.0.1"}, {"192.0.2.9", "198.51.100.7"},
		{"fd00::2", "fd00::1"}, {"2001:db8:1::9", "2001:db8::7"},
	} {
		o := newOutside(t, Config{Addrs: serverAddrs, ICMP: ICMPConfig{Echo: EchoLocal}, MTU: 4000})
		o.TCP().Streams()
		var app sync.WaitGroup
		t.Cleanup(app.Wait) // before the stack's end, hence Close first
		t.Cleanup(func() { _ = o.Close() })
		sockets := o.UDP().Sockets()
		app.Go(func() { // an echo; ends with the stack
			for sock := range sockets {
				app.Go(func() { // ends with the stack
					buf := make([]byte, 65535)
					for {
						n, addr, err := sock.ReadFrom(buf)
						if err != nil {
							return
						}
						_, _ = sock.WriteTo(buf[:n], addr)
					}
				})
			}
		})
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		from, to := netip.AddrPortFrom(client, 1000), netip.AddrPortFrom(server, 80)
		echo, cut := packet.ICMPv4, 84
		if client.Is6() {
			echo, cut = packet.ICMPv6, 104
		}
		port := uint16(2000)
		syn := func() []byte {
			port++
			return packet.AppendTCP(nil, packet.TCPHeader{Src: netip.AddrPortFrom(client, port), Dst: to, Seq: 7, Flags: packet.SYN, Window: 65535,
				Options: []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}}, bytes.Repeat([]byte{0}, 40))
		}
		datagram := packet.AppendUDP(nil, from, to, 64, 0, bytes.Repeat([]byte("datagram"), 400))
		ping := echoRequest(client, server, bytes.Repeat([]byte("ping"), 700))
		last := fragments(t, ping, 1300, 7)
		slices.Reverse(last)
		type row struct {
			name    string
			pkts    [][]byte
			proto   uint8
			payload int
		}
		rows := []row{
			{"SYN", [][]byte{syn()}, packet.TCP, 0},
			{"SYN with options", [][]byte{extended(syn(), 60)}, packet.TCP, 0},
			{"SYN in fragments", fragments(t, syn(), cut, 5), packet.TCP, 0},
			{"ping", [][]byte{ping}, echo, 2800},
			{"ping with options", [][]byte{extended(ping, 60)}, echo, 2800},
			{"ping in fragments", fragments(t, ping, 1300, 6), echo, 2800},
			{"ping in fragments, last first", last, echo, 2800},
			{"ping in fragments with options", fragments(t, extended(ping, 60), 1300, 16), echo, 2800},
			{"datagram", [][]byte{datagram}, packet.UDP, 3200},
			{"datagram with options", [][]byte{extended(datagram, 60)}, packet.UDP, 3200},
			{"datagram in fragments", fragments(t, datagram, 1300, 8), packet.UDP, 3200},
			{"datagram in small fragments", fragments(t, datagram, 280, 9), packet.UDP, 3200},
		}
		if client.Is6() {
			rows = append(rows,
				row{"hop by hop", [][]byte{extended(datagram, 0)}, packet.UDP, 3200},
				row{"routing", [][]byte{extended(datagram, 43)}, packet.UDP, 3200},
				row{"SYN behind routing", [][]byte{extended(syn(), 43)}, packet.TCP, 0},
			)
		}
		for _, tc := range rows {
			var answers []*packet.Packet
			if answers = o.ask(tc.pkts...); len(answers) == 0 && tc.proto != echo {
				answers = append(answers, o.next()) // of the application, or of the engine's handshake
			}
			if len(answers) != 1 {
				t.Errorf("%v %s: %d answers; %v", ends, tc.name, len(answers), o.Stats().Drops)
				continue
			}
			a := answers[0]
			if a.Proto != tc.proto || a.Src != server || a.Dst != client || len(a.Payload) != tc.payload {
				t.Errorf("%v %s: answer of protocol %d from %v to %v with %d bytes", ends, tc.name, a.Proto, a.Src, a.Dst, len(a.Payload))
			}
			if tc.proto == packet.TCP && a.Flags != packet.SYN|packet.ACK {
				t.Errorf("%v %s: flags %#x", ends, tc.name, a.Flags)
			}
		}
		for name, n := range o.drops.Snapshot() {
			t.Errorf("%v: %d packets counted as %s", ends, n, name)
		}
	}
}

// TestIPLayerAnswersNobody: whatever way it comes, what is not to be answered is
// not, and every packet is counted.
func TestIPLayerAnswersNobody(t *testing.T) {
	for _, ends := range [][2]string{{"192.0.2.9", "198.51.100.7"}, {"2001:db8:1::9", "2001:db8::7"}} {
		o := newOutside(t, Config{Addrs: serverAddrs, MTU: 4000})
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		from, to := netip.AddrPortFrom(client, 1000), netip.AddrPortFrom(server, 80)
		ping := echoRequest(client, server, bytes.Repeat([]byte("ping"), 700))
		datagram := packet.AppendUDP(nil, from, to, 64, 0, []byte("datagram"))
		for _, tc := range []struct {
			name string
			pkts [][]byte
			want drop.Cause
		}{
			{"foreign ping", [][]byte{ping}, drop.EchoOff},
			{"foreign ping with options", [][]byte{extended(ping, 60)}, drop.EchoOff},
			{"foreign ping in fragments", fragments(t, ping, 1300, 7), drop.EchoOff},
		} {
			before := o.drops.Load(tc.want)
			if answers := o.ask(tc.pkts...); len(answers) != 0 {
				t.Errorf("%v %s: answered by protocol %d", ends, tc.name, answers[0].Proto)
			}
			if n := o.drops.Load(tc.want) - before; n != 1 {
				t.Errorf("%v %s: counted %d times as %v: %v", ends, tc.name, n, tc.want, o.Stats().Drops)
			}
		}
		if client.Is4() {
			continue // AH is one more unknown protocol
		}
		all := uint64(0)
		for _, n := range o.drops.Snapshot() {
			all -= n
		}
		if answers := o.ask(authenticated(datagram)); len(answers) != 0 {
			t.Errorf("%v AH: answered by protocol %d", ends, answers[0].Proto)
		}
		for _, n := range o.drops.Snapshot() {
			all += n
		}
		if all != 1 {
			t.Errorf("%v AH: counted %d times: %v", ends, all, o.Stats().Drops)
		}
	}
}

// TestSmallMTU: a link below the minimum of IPv6 carries IPv4 alone. The engine would
// offer IPv6 clients an MSS that wraps around.
func TestSmallMTU(t *testing.T) {
	o := newOutside(t, Config{Addrs: serverAddrs[:1], MTU: 1000})
	o.TCP().Streams()
	o.UDP().Sockets()
	request := func(from, to string) []byte {
		return packet.AppendTCP(nil, packet.TCPHeader{Src: netip.MustParseAddrPort(from), Dst: netip.MustParseAddrPort(to),
			Seq: 7, Flags: packet.SYN, Window: 65535, Options: []byte{2, 4, 5, 180}}, nil)
	}
	datagram := packet.AppendUDP(nil, netip.MustParseAddrPort("[2001:db8::9]:9"), netip.MustParseAddrPort("[2001:db8::7]:9"), 64, 0, []byte("x"))
	for _, pkts := range [][][]byte{
		{request("[2001:db8::9]:1000", "[2001:db8::7]:80")}, {datagram}, {extended(datagram, 60)},
	} {
		if answers := o.ask(pkts...); len(answers) != 0 {
			t.Errorf("answered: protocol %d, options %x", answers[0].Proto, answers[0].TCPOptions())
		}
	}
	if n := o.drops.Load(drop.IPv6Off); n != 3 || o.flows.Len() != 0 {
		t.Errorf("counted %d times: %v", n, o.Stats().Drops)
	}
	if _, err := o.wire.Write(request("192.0.2.9:1000", "198.51.100.7:80")); err != nil {
		t.Fatal(err)
	}
	if p := o.next(); p.Flags != packet.SYN|packet.ACK || !bytes.HasPrefix(p.TCPOptions(), []byte{2, 4, 960 >> 8, 960 & 255}) {
		t.Errorf("IPv4: flags %#x, options %x", p.Flags, p.TCPOptions())
	}
}

// TestVouchedOptions: a packet that the conn vouches for, because its checksum is
// still to be made, is believed behind options, too. Fragments never are: whoever
// cuts a packet has made its checksum.
func TestVouchedOptions(t *testing.T) {
	for _, ends := range [][2]string{{"192.0.2.9:9", "198.51.100.7:9"}, {"[2001:db8:1::9]:9", "[2001:db8::7]:9"}} {
		o := newOutside(t, Config{Addrs: serverAddrs})
		sockets := o.UDP().Sockets()
		<-o.started
		b := extended(packet.AppendUDP(nil, netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1]), 64, 0, []byte("hello")), 60)
		var p packet.Packet
		if c := p.Decode(b); c != drop.None || !p.Options {
			t.Fatal(c)
		}
		p.L4[6] ^= 0x55 // what a partial checksum is
		o.deliver([]link.Packet{{Data: b}})
		if n := o.drops.Load(drop.L4Checksum); n != 1 {
			t.Errorf("%v: a wrong checksum was counted %d times", ends, n)
		}
		o.deliver([]link.Packet{{Data: b, Verified: true}})
		if n := o.drops.Load(drop.L4Checksum); n != 1 {
			t.Fatalf("%v: a packet that the conn vouches for was dropped", ends)
		}
		buf := make([]byte, 9)
		if n, _, err := (<-sockets).ReadFrom(buf); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("%v: %q, %v", ends, buf[:n], err)
		}
	}
}

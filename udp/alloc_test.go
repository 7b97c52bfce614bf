package udp

import (
	"net/netip"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// sink is an Output that costs nothing.
type sink struct{}

func (sink) WriteControl([]byte) bool  { return true }
func (sink) WriteDatagram([]byte) bool { return true }

// loaded returns a table with one Socket, and a function that lets it receive a
// datagram as the reader of the conn does.
func loaded(tb testing.TB, f family, m Mapping, size int) (*Socket, func()) {
	return loadedOn(tb, f, m, size, func(e *Env) { e.Out = sink{} })
}

func loadedOn(tb testing.TB, f family, m Mapping, size int, change func(*Env)) (*Socket, func()) {
	r := newRig(tb, Config{Mapping: m}, change)
	var p packet.Packet
	if c := p.Decode(datagramPacket(f.client, f.server, string(make([]byte, size)))); c != drop.None {
		tb.Fatal(c)
	}
	r.HandlePacket(&p)
	s := r.accept()
	if _, err := s.ReadMsg(make([]byte, size)); err != nil {
		tb.Fatal(err)
	}
	return s, func() { r.HandlePacket(&p) }
}

// A datagram in and its answer out allocate nothing on any of the calls that
// promise it.
func TestNoAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector lets pools forget")
	}
	eachFamily(t, func(t *testing.T, f family) {
		for _, m := range []Mapping{PerSource, PerFlow, PerDestination} {
			b := make([]byte, 2000)
			s, receive := loaded(t, f, m, 1200)
			for name, call := range map[string]func(){
				"ReadFromUDPAddrPort and WriteToUDPAddrPort": func() {
					receive()
					n, addr, _ := s.ReadFromUDPAddrPort(b)
					s.WriteToUDPAddrPort(b[:n], addr)
				},
				"ReadMsg and WriteMsg": func() {
					receive()
					m, _ := s.ReadMsg(b)
					s.WriteMsg(m.Reply(m.Payload))
				},
			} {
				if got := testing.AllocsPerRun(100, call); got != 0 {
					t.Errorf("%v: %s: %v allocations", m, name, got)
				}
			}
			if m == PerFlow {
				c, _ := s.Conn()
				if got := testing.AllocsPerRun(100, func() {
					receive()
					n, _ := c.Read(b)
					c.Write(b[:n])
				}); got != 0 {
					t.Errorf("Conn: %v allocations", got)
				}
			}
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			s, receive := loaded(b, f, PerSource, 1200)
			buf := make([]byte, 2000)
			b.SetBytes(1200)
			b.ReportAllocs()
			for b.Loop() {
				receive()
				n, addr, _ := s.ReadFromUDPAddrPort(buf)
				s.WriteToUDPAddrPort(buf[:n], addr)
			}
		})
	}
}

// BenchmarkReceive is what the goroutine that reads the conn pays, with many
// Sockets.
func BenchmarkReceive(b *testing.B) {
	const n = 10000
	r := newRig(b, Config{AcceptQueue: n, QueueDatagrams: 1}, func(e *Env) { e.Out = sink{} })
	pkts := make([]packet.Packet, n)
	for i := range pkts {
		src := netip.AddrPortFrom(clientAt(i%100, 1).Addr(), uint16(1+i/100))
		if c := pkts[i].Decode(datagramPacket(src, families[0].server, "hello")); c != drop.None {
			b.Fatal(c)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.HandlePacket(&pkts[i%n])
		i++
	}
}

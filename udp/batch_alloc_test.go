package udp

import (
	"testing"

	"l3extract/l3conn"
)

// TestBatchAllocs: neither batch call allocates, whatever the conn can do.
func TestBatchAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector lets pools forget")
	}
	for _, o := range offloads {
		eachFamily(t, func(t *testing.T, f family) {
			s, receive := loadedOn(t, f, PerSource, 1200, func(e *Env) {
				e.Out = sink{}
				if o.segments {
					e.Out = segmentSink{features: o.features}
				}
			})
			msgs := rooms(32, 2000)
			for name, call := range map[string]func(){
				"ReadBatch and WriteBatch": func() {
					for range 32 {
						receive()
					}
					n, _ := s.ReadBatch(msgs)
					for i := range msgs[:n] {
						m := &msgs[i]
						m.Buffer = m.Buffer[:m.N]
						m.Source, m.Destination = m.Destination, m.Source
					}
					s.WriteBatch(msgs[:n])
					for i := range msgs {
						msgs[i].Buffer = msgs[i].Buffer[:2000]
					}
				},
				"a run": func() {
					s.WriteBatch([]Message{{Buffer: msgs[0].Buffer, Segment: 500, Source: f.server}})
				},
				"ReadFromUDPAddrPort and WriteToUDPAddrPort": func() {
					receive()
					n, addr, _ := s.ReadFromUDPAddrPort(msgs[0].Buffer)
					s.WriteToUDPAddrPort(msgs[0].Buffer[:n], addr)
				},
				"Lend": func() {
					receive()
					var n int
					n, _ = s.Lend(lent)
					lent.Return(n)
				},
			} {
				if got := testing.AllocsPerRun(100, call); got != 0 {
					t.Errorf("%s, %s: %v allocations", o.name, name, got)
				}
			}
		})
	}
}

var lent = new(Batch)

// segmentSink is a SegmentOutput that costs nothing.
type segmentSink struct {
	sink
	features l3conn.Features
}

func (s segmentSink) DatagramOffload() l3conn.Features        { return s.features }
func (segmentSink) WriteDatagramSegment(*l3conn.Segment) bool { return true }

func BenchmarkBatchEcho(b *testing.B) {
	for _, o := range offloads {
		b.Run(o.name, func(b *testing.B) {
			s, receive := loadedOn(b, families[0], PerSource, 1200, func(e *Env) {
				e.Out = sink{}
				if o.segments {
					e.Out = segmentSink{features: o.features}
				}
			})
			msgs := rooms(32, 1200)
			b.SetBytes(1200)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%32 == 0 {
					s.t.BeginBatch()
				}
				receive()
				if i%32 != 31 {
					continue
				}
				s.t.EndBatch()
				n, _ := s.ReadBatch(msgs)
				for i := range msgs[:n] {
					m := &msgs[i]
					m.Source, m.Destination = m.Destination, m.Source
				}
				s.WriteBatch(msgs[:n])
			}
		})
	}
}

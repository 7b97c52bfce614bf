package l3conntest

import (
	"net/netip"
	"testing"

	"l3extract/internal/leak"
	"l3extract/l3conn"
)

func TestMain(m *testing.M) { leak.Main(m) }

// plain hides all but Read, Write and Close.
type plain struct{ p *l3conn.PipeEnd }

func (p plain) Read(b []byte) (int, error)  { return p.p.Read(b) }
func (p plain) Write(b []byte) (int, error) { return p.p.Write(b) }
func (p plain) Close() error                { return p.p.Close() }

func TestPipes(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		open Open
	}{
		{"Pipe", Config{}, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.Pipe(0, 0)
			return x, y, func() { x.Close(); y.Close() }
		}},
		{"Small", Config{}, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.Pipe(InFlight, 9000)
			return x, y, func() { x.Close(); y.Close() }
		}},
		{"Batch", Config{A: netip.MustParseAddr("2001:db8::1"), B: netip.MustParseAddr("2001:db8::2")},
			func(t *testing.T) (a, b l3conn.Conn, stop func()) {
				x, y := l3conn.BatchPipe(0, 0, 3)
				return x, y, func() { x.Close(); y.Close() }
			}},
		{"Mixed", Config{}, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.BatchPipe(16, 65535, 0)
			return x, plain{y.PipeEnd}, func() { x.Close(); y.Close() }
		}},
		{"Segments", Config{}, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.SegmentPipe(nil) // nobody enables them: a conn as any other
			return x, y, func() { x.Close(); y.Close() }
		}},
		{"Direct", Config{}, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Direct: true, MTU: 9000, Batch: 5})
			return x, y, func() { x.Close(); y.Close() }
		}},
		{"Plain", Config{MTU: 600}, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.Pipe(0, 600)
			return plain{x}, plain{y}, func() { x.Close(); y.Close() }
		}},
	} {
		t.Run(c.name, func(t *testing.T) { c.cfg.Test(t, c.open) })
	}
}

package carrier

import (
	"net"
	"testing"

	"l3extract/l3conn"
	"l3extract/l3conn/framed"
	"l3extract/l3conn/l3conntest"
)

// plain hides batches.
type plain struct{ *Conn }

func (p plain) Caps() l3conn.Caps {
	caps := p.Conn.Caps()
	caps.BatchReader, caps.BatchWriter = nil, nil
	return caps
}

func framedTCP(t testing.TB) (x, y l3conn.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := framed.New(dialled, nil) // nil is fine
	b, _ := framed.New(accepted, nil)
	return a, b
}

func TestContract(t *testing.T) {
	for _, kind := range []struct {
		name string
		make func(t testing.TB) (x, y l3conn.Conn)
	}{
		{"pipe", func(testing.TB) (x, y l3conn.Conn) { return l3conn.Pipe(0, 0) }},
		{"batch", func(testing.TB) (x, y l3conn.Conn) { return l3conn.BatchPipe(0, 9000, 5) }},
		{"segments", func(testing.TB) (x, y l3conn.Conn) { return l3conn.SegmentPipe(nil) }},
		{"framed", framedTCP},
	} {
		for _, batch := range []bool{true, false} {
			t.Run(kind.name+map[bool]string{true: "/batch", false: "/plain"}[batch], func(t *testing.T) {
				t.Parallel()
				l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
					x, y := kind.make(t)
					p, q := mustNew(t, Config{}), mustNew(t, Config{})
					if err := p.Replace(x); err != nil {
						t.Fatal(err)
					}
					if err := q.Replace(y); err != nil {
						t.Fatal(err)
					}
					stop = func() {
						p.Close()
						q.Close()
					}
					if batch {
						return p, q, stop
					}
					return plain{p}, plain{q}, stop
				})
			})
		}
	}
}

package framed

import (
	"testing"

	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

// TestContract holds every kind of stream and format against the contract of
// l3conn, with batches, segments, and without either.
func TestContract(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"default", Config{}},
		{"qemu", Config{Format: Big32, MTU: MaxMTU}},
		{"vpnkit", Config{Format: Little16, MTU: 9000, ReadBuffer: 1, WriteBuffer: 1}},
		{"alive", Config{Format: Little32, MTU: 1280, Keepalive: 1}}, // as many keepalives as can be
	} {
		for _, s := range streams {
			switch {
			case s.name == "pipe": // holds nothing, and the suite writes before it reads
				continue
			case s.name == "crumbs" && c.cfg.MTU == MaxMTU: // takes long
				continue
			}
			t.Run(c.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				for _, batch := range []bool{true, false} {
					name := map[bool]string{true: "batch", false: "plain"}[batch]
					t.Run(name, func(t *testing.T) {
						l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
							x, y := s.open(t)
							cfg := c.cfg
							cfg.PeerTimeout = -1
							p, q := mustNew(t, x, cfg), mustNew(t, y, cfg)
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
			})
		}
	}
}

// TestAbilities: what a stream cannot do is not promised.
func TestAbilities(t *testing.T) {
	for _, c := range []struct {
		stream      string
		cfg         Config
		read, write bool
	}{
		{"pipe", Config{}, true, true},
		{"tcp", Config{}, true, true},
		{"tcp", Config{NoDeadlines: true}, false, false},
		{"tls", Config{}, true, false},
		{"files", Config{}, true, true},
		{"bare", Config{}, false, false},
	} {
		for _, s := range streams {
			if s.name != c.stream {
				continue
			}
			a, b := s.open(t)
			defer b.Close()
			caps := l3conn.Probe(mustNew(t, a, c.cfg))
			if got := caps.ReadDeadliner != nil; got != c.read {
				t.Errorf("%s: read deadlines: %v", c.stream, got)
			}
			if got := caps.WriteDeadliner != nil; got != c.write {
				t.Errorf("%s: write deadlines: %v", c.stream, got)
			}
		}
	}
}

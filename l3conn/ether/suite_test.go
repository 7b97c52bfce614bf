package ether

import (
	"net/netip"
	"testing"

	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

// plain hides batches.
type plain struct{ *Conn }

func (p plain) Caps() l3conn.Caps {
	caps := p.Conn.Caps()
	caps.BatchReader, caps.BatchWriter = nil, nil
	return caps
}

// TestContract holds a Conn on every kind of carrier against the contract of l3conn, with
// batches and without.
func TestContract(t *testing.T) {
	for _, family := range []struct {
		name string
		a, b string
		mtu  int
	}{{"v4", "192.0.2.1/24", "192.0.2.2/24", 1500}, {"v6", "2001:db8::1/64", "2001:db8::2/64", 9000}} {
		a, b := netip.MustParsePrefix(family.a), netip.MustParsePrefix(family.b)
		for _, carrier := range carriers {
			for _, batch := range []bool{true, false} {
				t.Run(family.name+"/"+carrier.name+map[bool]string{true: "/batch", false: "/plain"}[batch], func(t *testing.T) {
					t.Parallel()
					l3conntest.Config{A: a.Addr(), B: b.Addr()}.Test(t, func(t *testing.T) (p, q l3conn.Conn, stop func()) {
						x, y := carrier.open(t)
						c, d := ends(t, x, y, [2][]netip.Prefix{{a}, {b}}, family.mtu)
						stop = func() {
							c.Close()
							d.Close()
						}
						if batch {
							return c, d, stop
						}
						return plain{c}, plain{d}, stop
					})
				})
			}
		}
	}
}

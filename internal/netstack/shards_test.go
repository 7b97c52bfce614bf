package netstack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"syscall"
	"testing"

	"l3extract/l3conn"
)

// TestShardOf: both directions of a connection have one owner, and connections of
// every likely pattern spread.
func TestShardOf(t *testing.T) {
	v4 := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	v6 := func(i int) netip.Addr {
		b := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		return netip.AddrFrom16(b)
	}
	const flows = 8192
	for _, tc := range []struct {
		name string
		flow func(i int) (x, y netip.AddrPort)
	}{
		{"ports", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v4(1), uint16(32768+i)), netip.AddrPortFrom(v4(2), 443)
		}},
		{"even ports, as Linux takes them", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v4(1), uint16(32768+2*i)), netip.AddrPortFrom(v4(2), 443)
		}},
		{"equal ports", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v4(1), uint16(i)), netip.AddrPortFrom(v4(2), uint16(i))
		}},
		{"clients", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v4(i), 40000), netip.AddrPortFrom(v4(1<<20), 443)
		}},
		{"clients and servers that go together", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v4(i), 40000), netip.AddrPortFrom(v4(1<<20+i), 443)
		}},
		{"IPv6 ports", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v6(1), uint16(32768+i)), netip.AddrPortFrom(v6(2), 443)
		}},
		{"IPv6 clients", func(i int) (x, y netip.AddrPort) {
			return netip.AddrPortFrom(v6(i<<20), 40000), netip.AddrPortFrom(v6(3), 443)
		}},
	} {
		for _, n := range []int{1, 2, 3, 64} {
			count := make([]int, n)
			for i := range flows {
				x, y := tc.flow(i)
				at := shardOf(x, y, n)
				if back := shardOf(y, x, n); back != at {
					t.Fatalf("%s: %v to %v is of %d, back of %d", tc.name, x, y, at, back)
				}
				count[at]++
			}
			want := float64(flows) / float64(n)
			for i, got := range count { // six standard deviations of a fair spread
				if math.Abs(float64(got)-want) > 6*math.Sqrt(want) {
					t.Errorf("%s: shard %d of %d has %d of %d flows", tc.name, i, n, got, flows)
				}
			}
		}
	}
}

// TestShardsOwn: each engine has the connections that are its own, dialled and
// accepted, of both families, and no other.
func TestShardsOwn(t *testing.T) {
	const engines, each = 3, 30
	x, y := l3conn.Pipe(0, 1500)
	a, b := newHostOf(t, x, 1500, engines), newHostOf(t, y, 1500, engines)
	for _, f := range families {
		for range each {
			type result struct {
				ep  *Endpoint
				err error
			}
			got := make(chan result, 1)
			go func() { // ends with the handshake
				a.all.Answer(<-a.syns, EndpointOptions{}, func(ep *Endpoint, err error) { got <- result{ep, err} })
			}()
			local := netip.AddrPortFrom(f.client.Addr(), 0)
			dialled, err := b.all.Dial(t.Context(), local, f.server, EndpointOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r := <-got
			if r.err != nil {
				t.Fatal(r.err)
			}
			for _, ep := range []*Endpoint{dialled, r.ep} {
				all := b.all
				if ep == r.ep {
					all = a.all
				}
				if all.owner(ep.local, ep.remote) != ep.engine {
					t.Errorf("%v to %v is not its owner's", ep.local, ep.remote)
				}
				if live, _ := all.InFlight(ep.local, ep.remote, 0); !live {
					t.Errorf("no engine knows %v to %v", ep.local, ep.remote)
				}
			}
			if _, err := b.all.Dial(t.Context(), dialled.local, f.server, EndpointOptions{}); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("dial from a port that is taken: %v", err)
			}
			echo(t, r.ep, dialled)
		}
	}
	for _, h := range []*host{a, b} {
		for i, e := range h.all.engines {
			if n := e.flows.len(); n < 2*each/engines/3 {
				t.Errorf("engine %d has %d of %d connections", i, n, 2*each)
			}
		}
	}
}

// echo moves some bytes each way.
func echo(t *testing.T, x, y *Endpoint) {
	t.Helper()
	a, b := block(x), block(y)
	for _, way := range [][2]*blocking{{a, b}, {b, a}} {
		msg := []byte(fmt.Sprint(x.local, y.local))
		if _, err := way[0].Write(msg); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(msg))
		for n := 0; n < len(buf); {
			m, err := way[1].Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if string(buf) != string(msg) {
			t.Fatalf("got %q, want %q", buf, msg)
		}
	}
}

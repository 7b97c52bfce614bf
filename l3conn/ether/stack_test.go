package ether

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"l3extract/l3conn"
	"l3extract/stack"
)

var bulk = flag.Int64("ether.mib", 16, "MiB that TestBulk moves each way")

// twoStacks returns two Stacks on one segment, whose gateways find each other by ARP and
// neighbour solicitation as any two hosts do.
func twoStacks(t *testing.T, open func(t testing.TB) (x, y l3conn.Conn)) (a, b *stack.Stack, addrs [2][]netip.Prefix) {
	t.Helper()
	addrs = [2][]netip.Prefix{
		{netip.MustParsePrefix("10.7.0.1/24"), netip.MustParsePrefix("fd07::1/64")},
		{netip.MustParsePrefix("10.7.0.2/24"), netip.MustParsePrefix("fd07::2/64")},
	}
	x, y := open(t)
	var both [2]*stack.Stack
	for i, carrier := range []l3conn.Conn{x, y} {
		conn, err := New(carrier, &Config{
			MAC: MAC{2, 0, 0, 0, 0, byte(i + 1)}, Addrs: addrs[i], DHCP: DHCPConfig{Off: true}, RA: RAConfig{Off: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := stack.New(conn, &stack.Config{Addrs: conn.Addrs()})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(context.Background()) }) // awaited when the test ends
		t.Cleanup(func() {
			_ = s.Close()
			running.Wait()
			conn.Close()
		})
		both[i] = s
	}
	return both[0], both[1], addrs
}

func connect(a, b *stack.Stack, to netip.Addr) (c1, c2 net.Conn, err error) {
	ln, err := b.Listen(context.Background(), "tcp", netip.AddrPortFrom(to, 0).String())
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if c1, err = a.DialContext(context.Background(), "tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	c2, err = ln.Accept()
	return c1, c2, err
}

// TestConn: a connection through two Stacks on a segment is a net.Conn as any other.
func TestConn(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b, addrs := twoStacks(t, c.open)
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c1, c2, err = connect(a, b, addrs[1][0].Addr())
				return c1, c2, func() {
					c1.Close()
					c2.Close()
				}, err
			})
		})
	}
}

// TestBulk: every byte arrives, both ways at once, over IPv4 and IPv6.
func TestBulk(t *testing.T) {
	for _, c := range carriers {
		for v6, family := range []string{"v4", "v6"} {
			t.Run(c.name+"/"+family, func(t *testing.T) {
				a, b, addrs := twoStacks(t, c.open)
				c1, c2, err := connect(a, b, addrs[1][v6].Addr())
				if err != nil {
					t.Fatal(err)
				}
				defer c1.Close()
				defer c2.Close()
				var all sync.WaitGroup
				for _, way := range [][2]net.Conn{{c1, c2}, {c2, c1}} {
					sums := make(chan [sha256.Size]byte, 2)
					all.Go(func() { sums <- pump(t, way[0], *bulk<<20) }) // awaited below
					all.Go(func() {                                       // awaited below
						sum := sha256.New()
						if n, err := io.Copy(sum, way[1]); n != *bulk<<20 || err != nil {
							t.Errorf("%d bytes: %v", n, err)
						}
						if sent := <-sums; sent != [sha256.Size]byte(sum.Sum(nil)) {
							t.Errorf("SHA-256 %x sent, %x received", sent, sum.Sum(nil))
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// pump writes n bytes that do not repeat, ends the direction, and returns their sum.
func pump(t *testing.T, c net.Conn, n int64) [sha256.Size]byte {
	sum := sha256.New()
	block := make([]byte, 1<<16)
	_, _ = rand.Read(block)
	for at := int64(0); at < n; at += int64(len(block)) {
		block[at>>16%int64(len(block))]++ // so that no two are the same
		sum.Write(block)
		if _, err := c.Write(block); err != nil {
			t.Error(err)
			break
		}
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// TestAllocs: a packet costs no memory, either way.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	x, y := l3conn.BatchPipe(0, maxFrame, 0)
	addrs := [2][]netip.Prefix{{netip.MustParsePrefix("10.7.0.1/24")}, {netip.MustParsePrefix("10.7.0.2/24")}}
	a, b := ends(t, x, y, addrs, 1500)
	var pkts, bufs [][]byte
	for i := range 32 {
		pkts, bufs = append(pkts, packet4(addrs[0][0].Addr(), addrs[1][0].Addr(), 100+i)), append(bufs, make([]byte, 1500))
	}
	sizes := make([]int, len(bufs))
	exchange := func() {
		if n, err := a.WriteBatch(pkts); n != len(pkts) || err != nil {
			t.Fatal(n, err)
		}
		for got := 0; got < len(pkts); {
			n, err := b.ReadBatch(bufs, sizes)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
	for range 2 * l3conn.DefaultPipePackets / len(pkts) { // until the pipe has its memory
		exchange()
	}
	if n := testing.AllocsPerRun(100, exchange); n >= 1 {
		t.Errorf("%v allocations for %d packets", n, len(pkts))
	}
}

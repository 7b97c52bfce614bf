package bench

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"l3extract/stack"
	"l3extract/tcp"
)

var somewhere = netip.MustParseAddrPort("198.51.100.7:80")

// worlds are what is compared.
var worlds = []struct {
	name string
	make func(b *testing.B) world
}{
	{"ours", func(b *testing.B) world { return ours(b, plain, stack.Config{}) }},
	{"ours-batch", func(b *testing.B) world { return ours(b, batches, stack.Config{}) }},
	{"ours-segments", func(b *testing.B) world { return ours(b, segments, stack.Config{}) }},
	{"ours-unbuffered", func(b *testing.B) world {
		return ours(b, plain, stack.Config{TCP: tcp.Config{WriteBuffer: -1}})
	}},
	{"gonet", rival},
}

// each runs f once for every world.
func each(b *testing.B, f func(b *testing.B, w world)) {
	for _, w := range worlds {
		b.Run(w.name, func(b *testing.B) { f(b, w.make(b)) })
	}
}

// connect returns both ends of a connection to to.
func connect(b *testing.B, w world, to netip.AddrPort) (dialled, accepted net.Conn) {
	b.Helper()
	dialled, err := w.dial(to)
	if err != nil {
		b.Fatal(err)
	}
	accepted, err = w.accept()
	if err != nil {
		b.Fatal(err)
	}
	return dialled, accepted
}

// BenchmarkBulk moves 64 KiB per operation over one and over several connections.
func BenchmarkBulk(b *testing.B) {
	for _, streams := range []int{1, 8} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			each(b, func(b *testing.B, w world) { bulk(b, w, streams) })
		})
	}
}

func bulk(b *testing.B, w world, streams int) {
	var conns []net.Conn
	var readers sync.WaitGroup
	for range streams {
		from, to := connect(b, w, somewhere)
		conns = append(conns, from)
		readers.Go(func() { _, _ = io.Copy(io.Discard, to) })
	}
	msg := make([]byte, 64<<10)
	b.SetBytes(int64(len(msg) * streams))
	b.ReportAllocs()
	for b.Loop() {
		var wg sync.WaitGroup
		for _, c := range conns {
			wg.Go(func() {
				if _, err := c.Write(msg); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for _, c := range conns {
		_ = c.Close()
	}
	readers.Wait()
}

// BenchmarkPingPong sends 64 bytes there and back.
func BenchmarkPingPong(b *testing.B) {
	each(b, func(b *testing.B, w world) {
		from, to := connect(b, w, somewhere)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{to}, make([]byte, 64))
		}()
		msg := make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := from.Write(msg); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(from, msg); err != nil {
				b.Fatal(err)
			}
		}
		_ = from.Close()
		<-done
	})
}

// BenchmarkSmallWrites sends 64 bytes per operation in one direction.
func BenchmarkSmallWrites(b *testing.B) {
	each(b, func(b *testing.B, w world) {
		from, to := connect(b, w, somewhere)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, to)
		}()
		msg := make([]byte, 64)
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := from.Write(msg); err != nil {
				b.Fatal(err)
			}
		}
		_ = from.Close()
		<-done
	})
}

// BenchmarkConnect opens a connection, sends a byte each way and closes both
// ends, while many others to as many addresses are open: the engine's own way is
// quadratic in them.
func BenchmarkConnect(b *testing.B) {
	for _, open := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprintf("destinations=%d", open), func(b *testing.B) {
			for _, w := range worlds {
				if w.name != "ours" && (w.name != "gonet" || open > 1000) {
					continue // gonet takes minutes to open 10 000
				}
				b.Run(w.name, func(b *testing.B) { connects(b, w.make(b), open) })
			}
		})
	}
}

func connects(b *testing.B, w world, open int) {
	var held []net.Conn
	for i := range open {
		from, to := connect(b, w, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 80))
		held = append(held, from, to)
	}
	one := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		from, to := connect(b, w, somewhere)
		for _, c := range [2][2]net.Conn{{from, to}, {to, from}} {
			if _, err := c[0].Write(one); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c[1], one); err != nil {
				b.Fatal(err)
			}
		}
		_ = from.Close()
		_ = to.Close()
	}
	b.StopTimer()
	for _, c := range held {
		_ = c.Close()
	}
}

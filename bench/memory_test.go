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
	{"wireguard", wireguard},
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

// BenchmarkBulk moves 64 KiB per operation and direction, spread over one or several
// connections, one way or both ways at once.
func BenchmarkBulk(b *testing.B) {
	for _, both := range []bool{false, true} {
		for _, streams := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("both=%v/streams=%d", both, streams), func(b *testing.B) {
				each(b, func(b *testing.B, w world) { bulk(b, w, streams, both) })
			})
		}
	}
}

// bulk ends its measurement when the last byte has been read, and fails if any is
// missing.
func bulk(b *testing.B, w world, streams int, both bool) {
	var froms, tos []net.Conn
	for range streams {
		from, to := connect(b, w, somewhere)
		froms, tos = append(froms, from), append(tos, to)
		if both {
			froms, tos = append(froms, to), append(tos, from)
		}
	}
	const size = 64 << 10
	msg := make([]byte, size)
	b.SetBytes(int64(size * len(froms) / streams))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := spent()
	var all sync.WaitGroup
	for i := range froms {
		writes := b.N / streams
		if i*streams/len(froms) < b.N%streams {
			writes++
		}
		all.Go(func() {
			for range writes {
				if _, err := froms[i].Write(msg); err != nil {
					b.Error(err)
					return
				}
			}
			if err := froms[i].(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				b.Error(err)
			}
		})
		all.Go(func() {
			if n, err := io.Copy(io.Discard, tos[i]); err != nil || n != int64(writes)*size {
				b.Errorf("%d bytes of %d were read: %v", n, writes*size, err)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(spent()-cpu)/float64(b.N), "cpu-ns/op")
	for _, c := range append(froms, tos...) {
		_ = c.Close() // both directions have ended
	}
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
				if w.name != "ours" && (w.name != "gonet" || open > 1000) && (w.name != "wireguard" || open > 1) {
					continue // gonet takes minutes to open 10 000, and wireguard has one address
				}
				b.Run(w.name, func(b *testing.B) { connects(b, w.make(b), open) })
			}
		})
	}
}

func connects(b *testing.B, w world, open int) {
	var held []net.Conn
	for i := range open {
		at := somewhere
		if open > 1 {
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 80)
		}
		from, to := connect(b, w, at)
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

package bench

import (
	"io"
	"net"
	"runtime"
	"testing"
)

// BenchmarkIdle opens 1 000 connections, moves a byte over each, and leaves them
// alone: B/stream is what heap and goroutine stacks have grown by, per end of one.
func BenchmarkIdle(b *testing.B) {
	const streams = 1000
	for _, w := range worlds {
		if w.name != "ours" && w.name != "ours-segments" && w.name != "gonet" && w.name != "wireguard" {
			continue // the others do not differ here
		}
		b.Run(w.name, func(b *testing.B) {
			world := w.make(b)
			one, grown := make([]byte, 1), 0.0
			for range b.N {
				before := held()
				conns := make([]net.Conn, 0, 2*streams)
				for range streams {
					from, to := connect(b, world, somewhere)
					if _, err := from.Write(one); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(to, one); err != nil {
						b.Fatal(err)
					}
					conns = append(conns, from, to)
				}
				grown += float64(held()-before) / float64(len(conns))
				for _, c := range conns {
					_ = c.Close()
				}
			}
			b.ReportMetric(grown/float64(b.N), "B/stream")
		})
	}
}

// held returns the bytes of heap and stacks that are in use.
func held() int64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

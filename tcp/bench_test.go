package tcp

import (
	"io"
	"sync"
	"testing"
	"time"
)

// buffers are the two ways that the benchmarks of latency compare.
var buffers = []struct {
	name string
	size int
}{{"buffered", 0}, {"unbuffered", -1}}

// BenchmarkPingPong is a round trip of 64 bytes.
func BenchmarkPingPong(b *testing.B) {
	for _, tc := range buffers {
		b.Run(tc.name, func(b *testing.B) {
			r := newRig(b, Config{WriteBuffer: tc.size})
			x, y := r.pair()
			defer x.Reset()
			defer y.Reset()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { io.CopyBuffer(struct{ io.Writer }{x}, struct{ io.Reader }{x}, make([]byte, 64)) })
			defer y.CloseWrite()
			msg := make([]byte, 64)
			for b.Loop() {
				if _, err := y.Write(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(y, msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoneWrite is the way of one small Write per 100 µs to its reader.
func BenchmarkLoneWrite(b *testing.B) {
	for _, tc := range buffers {
		b.Run(tc.name, func(b *testing.B) {
			r := newRig(b, Config{WriteBuffer: tc.size})
			x, y := r.pair()
			defer x.Reset()
			defer y.Reset()
			var wg sync.WaitGroup
			defer wg.Wait()
			came := make(chan time.Time, 1)
			wg.Go(func() {
				buf := make([]byte, 64)
				for {
					if _, err := io.ReadFull(x, buf); err != nil {
						return
					}
					came <- time.Now()
				}
			})
			defer y.CloseWrite()
			msg := make([]byte, 64)
			var sum time.Duration
			for b.Loop() {
				for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
				}
				start := time.Now()
				y.Write(msg)
				sum += (<-came).Sub(start)
			}
			b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N), "ns/way")
		})
	}
}

// BenchmarkSmallWrite is a stream of 64-byte Writes.
func BenchmarkSmallWrite(b *testing.B) {
	for _, tc := range buffers {
		b.Run(tc.name, func(b *testing.B) {
			r := newRig(b, Config{WriteBuffer: tc.size})
			x, y := r.pair()
			defer x.Reset()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { x.WriteTo(io.Discard) })
			defer y.Close()
			msg := make([]byte, 64)
			b.SetBytes(64)
			b.ReportAllocs()
			for b.Loop() {
				y.Write(msg)
			}
		})
	}
}

// BenchmarkBulk moves 64 KiB per operation.
func BenchmarkBulk(b *testing.B) {
	r := newRig(b, Config{})
	x, y := r.pair()
	defer x.Reset()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { x.WriteTo(io.Discard) })
	defer y.Close()
	msg := make([]byte, 64<<10)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		y.Write(msg)
	}
}

package stack

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"l3extract/l3conn"
)

// BenchmarkBulk moves 64 KiB per operation between two stacks in memory.
func BenchmarkBulk(b *testing.B) {
	for _, batch := range []bool{false, true} {
		b.Run(fmt.Sprintf("batch=%v", batch), func(b *testing.B) {
			var x, y l3conn.Conn
			if batch {
				x, y = l3conn.BatchPipe(0, 0, 64)
			} else {
				x, y = l3conn.Pipe(0, 0)
			}
			c, s := pairOn(b, x, y, Config{}, Config{})
			from, to, err := connect(c, s)
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { _, _ = io.Copy(io.Discard, to) })
			defer from.Close()
			msg := make([]byte, 64<<10)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := from.Write(msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

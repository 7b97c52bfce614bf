package bench

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"l3extract/l3conn"
	"l3extract/stack"
)

// BenchmarkShards compares one engine with several behind each Stack (Config.Shards):
// bulk both ways over eight streams, once also over two pairs of Stacks, and connections that live for a byte each way,
// eight at a time. Run it with -cpu 1,2.
func BenchmarkShards(b *testing.B) {
	for _, pipe := range []struct {
		name string
		make func() (x, y l3conn.Conn)
	}{{"plain", plain}, {"segments", segments}} {
		for _, shards := range []int{1, 2} {
			cfg := stack.Config{Shards: shards}
			b.Run(fmt.Sprintf("bulk/%s/shards=%d", pipe.name, shards), func(b *testing.B) {
				bulk(b, ours(b, pipe.make, cfg), 8, true)
			})
			if shards > 1 { // what it would be at best: nothing is shared
				b.Run("bulk/"+pipe.name+"/pairs=2", func(b *testing.B) {
					bulk(b, turns(ours(b, pipe.make, stack.Config{}), ours(b, pipe.make, stack.Config{})), 8, true)
				})
			}
			b.Run(fmt.Sprintf("connect/%s/shards=%d", pipe.name, shards), func(b *testing.B) {
				churn(b, ours(b, pipe.make, cfg), 8)
			})
		}
	}
}

// turns are two worlds of which each has every other connection.
func turns(x, y world) world {
	worlds := [2]world{x, y}
	var dials, accepts int
	return world{
		dial: func(to netip.AddrPort) (net.Conn, error) {
			dials++
			return worlds[dials%2].dial(to)
		},
		accept: func() (net.Conn, error) {
			accepts++
			return worlds[accepts%2].accept()
		},
	}
}

// churn opens b.N connections, atOnce at a time, and moves a byte each way over each.
func churn(b *testing.B, w world, atOnce int) {
	go func() { // ends with the world
		for {
			c, err := w.accept()
			if err != nil {
				return
			}
			go func() {
				one := make([]byte, 1)
				if _, err := io.ReadFull(c, one); err == nil {
					_, _ = c.Write(one) // the client sees whether it came
				}
				_ = c.Close()
			}()
		}
	}()
	places := make(chan struct{}, atOnce)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := spent()
	for range b.N {
		places <- struct{}{}
		go func() {
			defer func() { <-places }()
			c, err := w.dial(somewhere)
			if err != nil {
				b.Error(err)
				return
			}
			one := make([]byte, 1)
			if _, err := c.Write(one); err != nil {
				b.Error(err)
			} else if _, err := io.ReadFull(c, one); err != nil {
				b.Error(err)
			}
			_ = c.Close()
		}()
	}
	for range atOnce {
		places <- struct{}{} // all have ended
	}
	b.StopTimer()
	b.ReportMetric(float64(spent()-cpu)/float64(b.N), "cpu-ns/op")
}

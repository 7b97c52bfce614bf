package stack

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"l3extract/l3conn"
	"l3extract/tcp"
	"l3extract/udp"
)

// TestEndRaces: everything at once with the end, in whatever way that comes.
// Nobody hangs, no flow and no memory is left, and every flow that was opened was
// closed.
func TestEndRaces(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	for round := range rounds {
		x, y := l3conn.Pipe(0, 0)
		var all [2]*Stack
		var traces [2]*traced
		ran := make(chan error, 2)
		for i, conn := range []l3conn.Conn{x, y} {
			traces[i] = newTraced()
			cfg := Config{Addrs: clientAddrs, Shards: shards, Trace: traces[i].trace(), TCP: tcp.Config{LazyHandshake: round%2 == 0}, UDP: udp.Config{Mapping: udp.PerFlow}}
			if i == 1 {
				cfg.Addrs = serverAddrs
			}
			s, err := New(conn, &cfg)
			if err != nil {
				t.Fatal(err)
			}
			all[i] = s
		}
		c, s := all[0], all[1]
		var app sync.WaitGroup
		app.Go(func() { ran <- c.Run(background) })
		app.Go(func() { ran <- s.Run(background) })
		use := func(conn net.Conn) {
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write(make([]byte, 20_000))
			_, _ = conn.Read(make([]byte, 1))
		}
		for range 3 {
			app.Go(func() { // accepts and answers; ends with s
				for {
					st, err := s.TCP().AcceptStream(background)
					if err != nil {
						return
					}
					app.Go(func() { use(st) })
				}
			})
			app.Go(func() { // the same, established
				for {
					st, err := s.TCP().Accept()
					if err != nil {
						return
					}
					app.Go(func() { use(st) })
				}
			})
			app.Go(func() { // dials; ends with c
				for {
					conn, err := c.DialContext(background, "tcp", "198.51.100.7:80")
					if c.Err() != nil {
						if conn != nil {
							_ = conn.Close()
						}
						return
					}
					if err == nil {
						app.Go(func() { use(conn) })
					}
				}
			})
			app.Go(func() { // dials that are given up; ends with c
				for c.Err() == nil {
					ctx, cancel := context.WithTimeout(background, time.Duration(rand.Int64N(int64(time.Millisecond))))
					if conn, err := c.DialContext(ctx, "tcp", "[2001:db8::7]:80"); err == nil {
						_ = conn.Close()
					}
					cancel()
				}
			})
			app.Go(func() { // datagrams; ends with c
				for {
					conn, err := c.DialContext(background, "udp", "198.51.100.7:53")
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte("x"))
					_ = conn.Close()
				}
			})
			app.Go(func() { // listeners; ends with s
				for {
					l, err := s.Listen(background, "tcp", ":0")
					if err != nil {
						return
					}
					_ = l.Close()
					p, err := s.ListenPacket(background, "udp", ":0")
					if err != nil {
						return
					}
					_ = p.Close()
				}
			})
			app.Go(func() { // looks; ends with s
				for s.Err() == nil {
					_ = s.Stats()
					for f := range s.Flows() {
						if f.ID%7 == 0 {
							s.Kill(f.ID, nil)
						}
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond)))) // any moment will do
		ended := make(chan struct{})
		go func() { // ends, or the test fails
			defer close(ended)
			var ends sync.WaitGroup
			for i := range 2 {
				ends.Go(func() { _ = all[i].Close() })
			}
			switch round % 3 {
			case 0:
				ends.Go(func() {
					ctx, cancel := context.WithTimeout(background, time.Millisecond)
					defer cancel()
					_ = s.Shutdown(ctx)
				})
			case 1:
				ends.Go(func() { _ = x.Close() })
			}
			ends.Wait()
			app.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			panic("the end hangs") // with the stacks of all goroutines
		}
		for range 2 {
			if err := <-ran; err != nil && round%3 != 1 && err != io.EOF {
				t.Errorf("Run: %v", err)
			}
		}
		for i, s := range all {
			if n := s.flows.Len(); n != 0 {
				t.Errorf("round %d: stack %d has %d flows left", round, i, n)
			}
			if m := s.Stats().Memory; m.Used != 0 {
				t.Errorf("round %d: stack %d has memory left: %+v", round, i, m)
			}
			for id, events := range traces[i].events {
				if events[0] != "open" || events[len(events)-1] != "close" {
					t.Errorf("round %d: stack %d: flow %d had callbacks %v", round, i, id, events)
				}
			}
		}
		if t.Failed() {
			return
		}
	}
}

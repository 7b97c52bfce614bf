package stack

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"l3extract/l3conn"
)

// freed fails the test if what p points to is not collected. It mostly is at once, but
// not within 10 seconds on a machine that was very busy, once; what outlives the timers
// of the engine's connections is a leak.
func freed[T any](t *testing.T, name string, p weak.Pointer[T]) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); p.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Errorf("%s is still in memory", name)
			return
		}
	}
}

// TestClosedStackIsFreed: nothing, such as a timer that is still to fire, keeps a
// closed Stack and its streams in memory. Fragments do, for a minute: the engine has
// a timer for them that it never stops.
func TestClosedStackIsFreed(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, c, s *Stack, wire *l3conn.PipeEnd){
		"idle": func(*testing.T, *Stack, *Stack, *l3conn.PipeEnd) {},
		"streams": func(t *testing.T, c, s *Stack, _ *l3conn.PipeEnd) {
			a, _, err := connect(c, s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Write(make([]byte, 30_000)); err != nil { // nobody reads it
				t.Log(err)
			}
		},
		"closing": func(t *testing.T, c, s *Stack, _ *l3conn.PipeEnd) {
			a, _, err := connect(c, s)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Close()
		},
		"dial given up": func(t *testing.T, c, s *Stack, _ *l3conn.PipeEnd) {
			ctx, cancel := contextSoonOver(t)
			defer cancel()
			if _, err := c.DialContext(ctx, "tcp", "10.0.0.77:80"); err == nil {
				t.Error("dialled a host that is not there")
			}
		},
		"datagrams": func(t *testing.T, c, s *Stack, _ *l3conn.PipeEnd) {
			conn, err := c.DialContext(soon(t), "udp", "198.51.100.7:53")
			if err != nil {
				t.Fatal(err)
			}
			sockets := s.UDP().Sockets()
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			<-sockets
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := func() (weak.Pointer[Stack], weak.Pointer[Stack]) {
				x, y := l3conn.Pipe(0, 0)
				var all []*Stack
				done := make(chan error, 2)
				for i, conn := range []l3conn.Conn{x, y} {
					s, err := New(conn, &Config{Addrs: [][]netip.Prefix{clientAddrs, serverAddrs}[i]})
					if err != nil {
						t.Fatal(err)
					}
					go func() { done <- s.Run(context.Background()) }() // ends by Close
					<-s.started
					all = append(all, s)
				}
				use(t, all[0], all[1], x)
				for _, s := range all {
					_ = s.Close()
					<-done
				}
				return weak.Make(all[0]), weak.Make(all[1])
			}()
			freed(t, "the client's stack", client)
			freed(t, "the server's stack", server)
		})
	}
}

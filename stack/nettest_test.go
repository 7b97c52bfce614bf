package stack

import (
	"fmt"
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"l3extract/l3conn"
	"l3extract/tcp"
)

// TestConn holds Stream against the contract of net.Conn: accepted and dialled
// ends, eager and lazy, over a plain and a batching conn, with the write buffer
// on and off.
func TestConn(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		for _, kind := range pipes {
			for _, buffer := range []int{0, -1} {
				name := fmt.Sprintf("lazy=%v/%s/buffer=%v", lazy, kind.name, buffer == 0)
				t.Run(name, func(t *testing.T) {
					nettest.TestConn(t, pipeMaker(lazy, kind.make, buffer))
				})
			}
		}
	}
}

// pipes are the kinds of conns, each as a pair in memory.
var pipes = []struct {
	name string
	make func() (x, y l3conn.Conn)
}{
	{"plain", func() (x, y l3conn.Conn) { return l3conn.Pipe(0, 0) }},
	{"batch", func() (x, y l3conn.Conn) { return l3conn.BatchPipe(0, 0, 0) }},
	{"segments", func() (x, y l3conn.Conn) { return l3conn.SegmentPipe(nil) }},
}

func pipeMaker(lazy bool, pipe func() (x, y l3conn.Conn), buffer int) nettest.MakePipe {
	return func() (a, b net.Conn, stop func(), err error) {
		x, y := pipe()
		cfg := Config{TCP: tcp.Config{WriteBuffer: buffer, LazyHandshake: lazy}}
		client, server, stop, err := stacks(x, y, cfg)
		if err != nil {
			return nil, nil, nil, err
		}
		a, b, err = connect(client, server)
		if err != nil {
			stop()
			return nil, nil, nil, err
		}
		return a, b, stop, nil
	}
}

// stacks is pairOn for callers without a testing.TB at hand.
func stacks(x, y l3conn.Conn, cfg Config) (client, server *Stack, stop func(), err error) {
	cfg.Addrs, cfg.Shards = clientAddrs, shards
	if client, err = New(x, &cfg); err != nil {
		return nil, nil, nil, err
	}
	cfg.Addrs = serverAddrs
	if server, err = New(y, &cfg); err != nil {
		return nil, nil, nil, err
	}
	done := make(chan error, 2)
	go func() { done <- client.Run(background) }()
	go func() { done <- server.Run(background) }()
	return client, server, func() {
		_ = client.Close()
		_ = server.Close()
		<-done
		<-done
	}, nil
}

// connect dials a foreign address from client and accepts it at server.
func connect(client, server *Stack) (dialled, accepted net.Conn, err error) {
	streams := server.TCP().Streams() // from here on SYNs are answered
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := client.DialContext(background, "tcp", "198.51.100.7:80")
		done <- result{c, err}
	}()
	st, ok := <-streams
	if !ok {
		return nil, nil, net.ErrClosed
	}
	if err := st.Handshake(background); err != nil {
		return nil, nil, err
	}
	r := <-done
	return r.c, st, r.err
}

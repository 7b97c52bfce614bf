package l3conn_test

import (
	"fmt"
	"sync/atomic"

	"l3extract/l3conn"
)

// counter is a middleware: it counts the packets that are read, and hands on
// everything else that the conn below can do.
type counter struct {
	below l3conn.Caps
	read  atomic.Uint64
}

func count(conn l3conn.Conn) *counter { return &counter{below: l3conn.Probe(conn)} }

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.below.Conn.Read(b)
	if n > 0 {
		c.read.Add(1)
	}
	return n, err
}

func (c *counter) Write(p []byte) (int, error) { return c.below.Conn.Write(p) }

// Caps starts without data paths. Writes need no counting, so they are handed
// on; what is left out (batched reads, offload) nobody above will use.
func (c *counter) Caps() l3conn.Caps {
	caps := c.below.Control()
	caps.BatchWriter, caps.Direct = c.below.BatchWriter, c.below.Direct
	return caps
}

func Example_middleware() {
	a, b := l3conn.BatchPipe(0, 0, 0)
	counted := count(a)
	b.WriteBatch([][]byte{{0x45}, {0x45}})
	buf := make([]byte, 1500)
	for range 2 {
		counted.Read(buf)
	}
	caps := l3conn.Probe(counted)
	fmt.Println(counted.read.Load(), "packets; MTU", caps.MTU())
	fmt.Println("batched writes:", caps.BatchWriter != nil, "reads:", caps.BatchReader != nil)
	// Output:
	// 2 packets; MTU 1500
	// batched writes: true reads: false
}

func ExamplePipe() {
	a, b := l3conn.Pipe(0, 0)
	defer a.Close()
	defer b.Close()
	a.Write([]byte("any bytes will do for a pipe"))
	buf := make([]byte, b.MTU())
	n, err := b.Read(buf)
	fmt.Println(n, err)
	// Output: 28 <nil>
}

func ExampleFuncs() {
	packets := make(chan []byte, 1)
	conn := l3conn.Funcs{
		ReadFunc:  func(b []byte) (int, error) { return copy(b, <-packets), nil },
		WriteFunc: func(p []byte) (int, error) { packets <- append([]byte(nil), p...); return len(p), nil },
	}
	conn.Write([]byte{0x45, 0})
	n, _ := conn.Read(make([]byte, 1500))
	fmt.Println(n, "bytes came back")
	// Output: 2 bytes came back
}

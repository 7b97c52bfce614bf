package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"l3extract/internal/leak"
	"l3extract/l3conn"
	"l3extract/stack"
)

func TestMain(m *testing.M) { leak.Main(m) }

// rig is a stack that answers connections, with a client behind it.
type rig struct {
	stack, client *stack.Stack
	causes        Causes
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := new(rig)
	a, b := l3conn.Pipe(0, 0)
	var err error
	cfg := new(stack.Config)
	cfg.Trace.Close = r.causes.Closed
	if r.stack, err = stack.New(a, cfg); err != nil {
		t.Fatal(err)
	}
	if r.client, err = stack.New(b, &stack.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}}); err != nil {
		t.Fatal(err)
	}
	acceptor := r.stack.TCP()
	ended := make(chan error, 3)
	go func() { // awaited in the cleanup
		for {
			c, err := acceptor.Accept()
			if err != nil {
				ended <- nil
				return
			}
			go io.Copy(c, c) // until it ends
		}
	}()
	for _, s := range []*stack.Stack{r.stack, r.client} {
		go func() { ended <- s.Run(context.Background()) }() // awaited in the cleanup
	}
	t.Cleanup(func() {
		r.stack.Close()
		r.client.Close()
		for range 3 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// dial opens a connection and sends n bytes, which come back.
func (r *rig) dial(t *testing.T, address string, n int) net.Conn {
	t.Helper()
	c, err := r.client.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs s on ln to the end of the test.
func serve(t *testing.T, s *Server, ln net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln) }() // awaited in the cleanup
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// onUnix serves s on a socket and returns a Client of it.
func onUnix(t *testing.T, s *Server) (*Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, ln)
	c, err := NewClient("unix://"+path, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, path
}

var errTest = errors.New("of the test")

package main

import (
	"bytes"
	"io"
	"net"
	"testing"

	"l3extract/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) {
	exampletest.Refuses(t, run, "flag provided but not defined", "-nonsense")
	exampletest.Refuses(t, run, "unexpected argument", "more")
	exampletest.Refuses(t, run, "no name for an interface", "-tun", "a/b")
}

// TestTUN connects this host's own kernel to the example.
func TestTUN(t *testing.T) {
	exampletest.OnTUN(t, run)
	hello := bytes.Repeat([]byte("hello, kernel. "), 10_000)
	for _, address := range []string{"198.18.0.7:7", "198.18.0.200:8080", "[fd6c:3378::7]:7"} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sent := make(chan error, 1)
		go func() { // awaited below
			_, err := c.Write(hello)
			if err == nil {
				err = c.(*net.TCPConn).CloseWrite()
			}
			sent <- err
		}()
		said, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(said, hello) {
			t.Errorf("%s: %d of %d bytes came back: %v", address, len(said), len(hello), err)
		}
		if err := <-sent; err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

package main

import (
	"io"
	"net"
	"testing"

	"l3extract/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) { exampletest.Refuses(t, run, "unexpected argument", "more") }

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// TestTUN does with this host's own kernel what the clients of the demo do.
func TestTUN(t *testing.T) {
	exampletest.OnTUN(t, run)
	for _, host := range []string{"198.18.0.7", "fd6c:3378::7"} {
		first := dial(t, net.JoinHostPort(host, "1"))
		if _, err := io.WriteString(first, "hello"); err != nil {
			t.Error(err)
		}
		if err := first.CloseWrite(); err != nil {
			t.Error(err)
		}
		if said, err := io.ReadAll(first); err != nil || string(said) != "you said 5 bytes" {
			t.Errorf("%s: %q, %v", host, said, err)
		}

		last := dial(t, net.JoinHostPort(host, "2"))
		if said, err := io.ReadAll(last); err != nil || string(said) != "that is all" {
			t.Errorf("%s: %q, %v", host, said, err)
		}
		if _, err := io.WriteString(last, "good night"); err != nil {
			t.Error(err)
		}
		if err := last.CloseWrite(); err != nil {
			t.Error(err)
		}
	}
}

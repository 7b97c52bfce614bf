package stack

import (
	"errors"
	"syscall"
	"testing"
)

// TestNobodyAsked: what a Stack's owner never asked for is refused; from the call
// of TCP or UDP on, a client that is faster than the first Accept is served.
func TestNobodyAsked(t *testing.T) {
	c, s := pair(t, Config{}, Config{})
	if _, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("TCP that nobody asked for: %v", err)
	}
	u, err := c.DialContext(soon(t), "udp", "198.51.100.7:53")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("UDP that nobody asked for: %v", err)
	}
	acceptor, sockets := s.TCP(), s.UDP()
	conn, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80")
	if err != nil {
		t.Fatalf("dial before the first Accept: %v", err)
	}
	if st, err := acceptor.AcceptStream(soon(t)); err != nil || st.Source().String() != conn.LocalAddr().String() {
		t.Fatalf("AcceptStream: %v", err)
	}
	if _, err := u.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	sock, err := sockets.AcceptSocket(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if n, _, err := sock.ReadFrom(b); err != nil || string(b[:n]) != "y" {
		t.Fatalf("first datagram: %q, %v", b[:n], err)
	}
}

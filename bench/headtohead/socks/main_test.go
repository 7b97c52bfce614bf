package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"
)

// start serves on loopback for as long as the test lasts.
func start(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- serve(ln) }() // awaited below
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestConnect(t *testing.T) {
	echo, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() { // ends with its connection
		c, err := echo.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	d, err := proxy.SOCKS5("tcp", start(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Dial("tcp", echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "there" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := d.Dial("tcp", closedPort(t)); err == nil {
		t.Error("a port that nobody listens on is connected")
	}
}

// closedPort was somebody's until now.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}

func TestAssociate(t *testing.T) {
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() { // ends when echo is closed
		b := make([]byte, 100)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	c, err := net.Dial("tcp4", start(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ask := appendAddress([]byte{version, 1, open, version, associate, 0}, netip.AddrPort{})
	if _, err := c.Write(ask); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2+3+addressSize)
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	bound, ok := address(answer[5:])
	if !ok || !bytes.Equal(answer[:5], []byte{version, open, version, succeeded, 0}) {
		t.Fatalf("answered %v", answer)
	}
	u, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(bound))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := u.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	want := append(appendAddress(make([]byte, 3), echo.LocalAddr().(*net.UDPAddr).AddrPort()), "there"...)
	for _, b := range [][]byte{{1}, want} { // the first is too short to be anything
		if _, err := u.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 100)
	if n, err := u.Read(got); !bytes.Equal(got[:n], want) || err != nil {
		t.Errorf("got %v, %v, want %v", got[:n], err, want)
	}
}

// TestNonsense has clients that are none end without an answer.
func TestNonsense(t *testing.T) {
	addr := start(t)
	for _, say := range [][]byte{{4, 1, 0}, append([]byte{version, 1, open}, version, connect, 0, 9, 0, 0, 0, 0, 0, 0)} {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(say); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if len(got) > 2 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v: answered %v, %v", say, got, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRun has the program that it serves end it.
func TestRun(t *testing.T) {
	var ended *exec.ExitError
	if err := run("127.0.0.1:0", []string{"false"}); !errors.As(err, &ended) {
		t.Errorf("got %v, want what the program ended with", err)
	}
}

package gostrelay

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-gost/relay"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/outbound"
)

// serveUDP runs a server that sends datagrams back, to ports but 1, which it forbids.
func serveUDP(t *testing.T, conns *atomic.Int64) string {
	return fakeproxy.Serve(t, func(c *net.TCPConn) {
		conns.Add(1)
		defer conns.Add(-1)
		var r relay.Request
		if _, err := r.ReadFrom(c); err != nil {
			return
		}
		var network *relay.NetworkFeature
		var to *relay.AddrFeature
		for _, f := range r.Features {
			switch f := f.(type) {
			case *relay.NetworkFeature:
				network = f
			case *relay.AddrFeature:
				to = f
			}
		}
		if r.Cmd != relay.CmdConnect|relay.FUDP || network == nil || network.Network != relay.NetworkUDP {
			t.Errorf("asked for %+v", r)
		}
		if to.Port == 1 {
			_, _ = (&relay.Response{Version: relay.Version1, Status: relay.StatusForbidden}).WriteTo(c)
			return
		}
		_, _ = (&relay.Response{Version: relay.Version1}).WriteTo(c)
		for {
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if string(b) == "bye" {
				return
			}
			_, _ = c.Write(append(size[:], b...))
		}
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(fakeproxy.Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func udpAddr(port int) net.Addr { return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port} }

// TestDatagrams: a connection for each destination, refusals, ends and the bound.
func TestDatagrams(t *testing.T) {
	var conns atomic.Int64
	d := &Dialer{Address: serveUDP(t, &conns), Username: "anna", Password: "s3cret"}
	pc, err := d.ListenPacket(t.Context(), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(fakeproxy.Patience))
	b := make([]byte, 1<<16)
	ask := func(to net.Addr, payload string) {
		t.Helper()
		if n, err := pc.WriteTo([]byte(payload), to); n != len(payload) || err != nil {
			t.Fatalf("%v: %d, %v", to, n, err)
		}
		n, from, err := pc.ReadFrom(b)
		if err != nil || string(b[:n]) != payload || from.String() != to.String() {
			t.Fatalf("%v: %d bytes from %v, %v", to, n, from, err)
		}
	}
	for range 2 {
		for _, payload := range []string{"", "hello", strings.Repeat("x", maxDatagram)} {
			ask(udpAddr(53), payload)
			ask(&net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 53}, payload)
			ask(outbound.Name{Host: "a.example", Port: 53}, payload)
		}
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	// A refusal is the error of a later datagram.
	until(t, "the refusal", func() bool {
		_, err = pc.WriteTo([]byte("x"), udpAddr(1))
		return err != nil
	})
	var op *net.OpError
	if !errors.Is(err, syscall.EACCES) || errors.Is(err, outbound.ErrProxy) || !errors.As(err, &op) {
		t.Errorf("%v, want EACCES", err)
	}
	// A connection that the server ends is made anew.
	if _, err := pc.WriteTo([]byte("bye"), udpAddr(53)); err != nil {
		t.Fatal(err)
	}
	until(t, "its end", func() bool { return conns.Load() == 2 })
	f := pc.(*packetConn).flows
	until(t, "the flow's end", func() bool {
		n := 0
		for _, f := range f {
			if f.err.Load() != nil {
				n++
			}
		}
		return n == 1
	})
	ask(udpAddr(53), "again")
	// The least recently used makes room.
	for port := range maxFlows {
		ask(udpAddr(1000+port), "x")
	}
	until(t, "room", func() bool { return conns.Load() == maxFlows })
	if _, err := pc.WriteTo(make([]byte, maxDatagram+1), udpAddr(53)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a large one: %v", err)
	}
	if _, err := pc.WriteTo(nil, outbound.Name{}); err == nil {
		t.Error("no name is no error")
	}
	_ = pc.SetReadDeadline(time.Unix(1, 0))
	if _, _, err := pc.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadFrom: %v", err)
	}
	if err := pc.(outbound.PacketWaiter).WaitRead(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a wait beyond the deadline: %v", err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(fakeproxy.Patience))
	if _, err := pc.WriteTo([]byte("whole"), udpAddr(2)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it takes nothing
		if err := pc.(outbound.PacketWaiter).WaitRead(); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "whole" {
		t.Errorf("after the wait %q, %v", b[:n], err)
	}
	_ = pc.SetReadDeadline(time.Time{})
	read := make(chan error)
	go func() {
		_, _, err := pc.ReadFrom(b)
		read <- err
	}()
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadFrom: %v", err)
	}
	if _, err := pc.WriteTo(nil, udpAddr(53)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo: %v", err)
	}
	if err := pc.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
	until(t, "the connections' end", func() bool { return conns.Load() == 0 })
}

// TestDatagramsBlackHole: while the server says nothing, a bounded number waits, and
// Close does not.
func TestDatagramsBlackHole(t *testing.T) {
	d := &Dialer{Address: fakeproxy.Serve(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })}
	pc, err := d.ListenPacket(t.Context(), "udp6", ":0")
	if err != nil {
		t.Fatal(err)
	}
	for range maxQueue + 5 {
		if _, err := pc.WriteTo([]byte("x"), udpAddr(53)); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Stats().Dropped; n != 5 {
		t.Errorf("%d dropped, want 5", n)
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.ListenPacket(t.Context(), "tcp", ":0"); err == nil {
		t.Error("tcp is no error")
	}
}

// TestDatagramsCut: an end within a datagram is the server's fault.
func TestDatagramsCut(t *testing.T) {
	d := &Dialer{Address: fakeproxy.Serve(t, func(c *net.TCPConn) {
		var r relay.Request
		_, _ = r.ReadFrom(c)
		_, _ = (&relay.Response{Version: relay.Version1}).WriteTo(c)
		_, _ = c.Write([]byte{0, 9, 'x'})
	})}
	pc, err := d.ListenPacket(t.Context(), "udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	until(t, "the error", func() bool {
		_, err = pc.WriteTo([]byte("x"), udpAddr(53))
		return err != nil
	})
	if !errors.Is(err, outbound.ErrProxy) || errors.Is(err, io.EOF) {
		t.Errorf("%v, want ErrProxy", err)
	}
}

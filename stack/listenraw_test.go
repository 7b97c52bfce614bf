package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// TestPingFromInside: an echo that a raw conn sends reaches the other Stack, and the
// reply comes back to it; the other conn of the protocol has a copy.
func TestPingFromInside(t *testing.T) {
	x, y := l3conn.Pipe(0, 0)
	c := newStack(t, x, Config{Addrs: clientAddrs})
	newStack(t, y, Config{Addrs: serverAddrs})
	for _, tc := range []struct {
		network, local string
		to             netip.Addr
		v6             bool
	}{
		{"ip4:icmp", "", serverAddrs[0].Addr(), false},
		{"ip4:1", clientAddrs[0].Addr().String(), serverAddrs[0].Addr(), false},
		{"ip6:ipv6-icmp", "", serverAddrs[1].Addr(), true},
		{"ip6:58", clientAddrs[1].Addr().String(), serverAddrs[1].Addr(), true},
	} {
		pc, err := c.ListenPacket(context.Background(), tc.network, tc.local)
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.ListenPacket(context.Background(), tc.network, "")
		if err != nil {
			t.Fatal(err)
		}
		msg := append(make([]byte, packet.EchoLen), "from inside"...)
		typ := packet.EchoRequest4
		if tc.v6 {
			typ = packet.EchoRequest6
		}
		packet.PutEcho(msg, typ, 77, 3)
		if _, err := pc.WriteTo(msg, &net.IPAddr{IP: tc.to.AsSlice()}); err != nil {
			t.Fatal(err)
		}
		for _, pc := range []net.PacketConn{pc, second} {
			_ = pc.SetReadDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, 1500)
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			id, seq, reply, ok := packet.ReadEcho(b[:n], tc.v6)
			if !ok || !reply || id != 77 || seq != 3 || string(b[packet.EchoLen:n]) != "from inside" || from.String() != tc.to.String() {
				t.Errorf("%s: got %x from %v", tc.network, b[:n], from)
			}
			_ = pc.Close()
			if _, _, err := pc.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
	}
}

// TestRawProtocol: packets of a protocol, whole or in fragments, and none of another.
func TestRawProtocol(t *testing.T) {
	for i, client := range []string{"10.0.0.2", "fd00::2"} {
		o := newOutside(t, Config{Addrs: serverAddrs, MTU: 4000})
		own := serverAddrs[i].Addr()
		network := []string{"ip4:47", "ip6:gre"}[i]
		pc, err := o.ListenPacket(context.Background(), network, own.String())
		if err != nil {
			t.Fatal(err)
		}
		from, to := netip.AddrPortFrom(netip.MustParseAddr(client), 1), netip.AddrPortFrom(own, 1)
		short := withProtocol(packet.AppendUDP(nil, from, to, 0, 0, []byte("short")), 47)
		long := withProtocol(packet.AppendUDP(nil, from, to, 0, 0, make([]byte, 3000)), 47)
		pkts := slices.Concat([][]byte{short, extended(short, 60)}, fragments(t, long, 1300, 5), [][]byte{withProtocol(short, 46)})
		if a := o.ask(pkts...); len(a) != 1 || o.drops.Load(drop.UnknownProtocol) != 1 {
			t.Errorf("%s: %d answers, want one to the other protocol; %v", network, len(a), o.Stats().Drops)
		}
		_ = pc.SetReadDeadline(time.Now().Add(10 * time.Second))
		for _, want := range []int{13, 13, 3008} {
			b := make([]byte, 4000)
			n, addr, err := pc.ReadFrom(b)
			if err != nil || n != want || addr.String() != client {
				t.Errorf("%s: %d bytes from %v, %v, want %d", network, n, addr, err, want)
			}
		}
		if _, err := pc.WriteTo([]byte("out"), &net.IPAddr{IP: from.Addr().AsSlice()}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4000)
		n, err := o.wire.Read(b)
		var p packet.Packet
		if cause := p.Decode(b[:n]); err != nil || cause != drop.UnknownProtocol || p.Proto != 47 || p.Src != own || string(p.L4) != "out" {
			t.Errorf("%s: sent %x, %v", network, b[:n], err)
		}
		// The queue is bounded, and what it does not take is counted.
		var flood [][]byte
		for range 300 {
			flood = append(flood, short)
		}
		if a := o.ask(flood...); len(a) != 0 || o.drops.Load(drop.RawQueueFull) != 300-256 {
			t.Errorf("%s: %d answers, %v", network, len(a), o.Stats().Drops)
		}
		held := o.Stats().Memory.Datagram
		_ = pc.Close()
		if held == 0 || o.Stats().Memory.Datagram != 0 {
			t.Errorf("%s: %d bytes held, then %d", network, held, o.Stats().Memory.Datagram)
		}
		if a := o.ask(short); len(a) != 1 {
			t.Errorf("%s: %d answers after Close, want protocol unreachable", network, len(a))
		}
	}
}

// TestListenRawErrors: what cannot be had, and what cannot be sent.
func TestListenRawErrors(t *testing.T) {
	s := newStack(t, idleConn(t), Config{Addrs: serverAddrs[:1]})
	for _, tc := range []struct {
		network, address string
		want             error
	}{
		{"ip4:tcp", "", net.UnknownNetworkError("ip4:tcp")},
		{"ip4:6", "", syscall.EPROTONOSUPPORT},
		{"ip4:17", "", syscall.EPROTONOSUPPORT},
		{"ip4:58", "", syscall.EPROTONOSUPPORT},
		{"ip4:300", "", net.UnknownNetworkError("ip4:300")},
		{"ip:icmp", "", net.UnknownNetworkError("ip:icmp")},
		{"ip4", "", net.UnknownNetworkError("ip4")},
		{"ip4:icmp", "10.9.9.9", syscall.EADDRNOTAVAIL},
		{"ip6:ipv6-icmp", "", syscall.EADDRNOTAVAIL},
		{"ip6:ipv6-icmp", "10.0.0.1", nil},
		{"ip4:icmp", "name", nil},
	} {
		_, err := s.ListenPacket(context.Background(), tc.network, tc.address)
		var op *net.OpError
		if !errors.As(err, &op) || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s %q: %v, want %v", tc.network, tc.address, err, tc.want)
		}
	}
	pc, err := s.ListenPacket(context.Background(), "ip4:icmp", "")
	if err != nil {
		t.Fatal(err)
	}
	msg := make([]byte, packet.EchoLen)
	for _, tc := range []struct {
		b    []byte
		to   net.Addr
		want error
	}{
		{msg, nil, syscall.EDESTADDRREQ},
		{msg, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2)}, syscall.EINVAL},
		{msg, &net.IPAddr{IP: net.IPv6loopback}, syscall.EAFNOSUPPORT},
		{msg, &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}, syscall.ENETUNREACH},
		{msg, &net.IPAddr{IP: net.IPv4(10, 0, 0, 1)}, syscall.ECONNREFUSED},
		{msg[:3], &net.IPAddr{IP: net.IPv4(10, 0, 0, 2)}, syscall.EINVAL},
		{make([]byte, 1<<16), &net.IPAddr{IP: net.IPv4(10, 0, 0, 2)}, syscall.EMSGSIZE},
	} {
		if _, err := pc.WriteTo(tc.b, tc.to); !errors.Is(err, tc.want) {
			t.Errorf("%d bytes to %v: %v, want %v", len(tc.b), tc.to, err, tc.want)
		}
	}
	_ = pc.SetDeadline(time.Now().Add(-time.Second))
	if _, _, err := pc.ReadFrom(msg); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := pc.WriteTo(msg, &net.IPAddr{IP: net.IPv4(10, 0, 0, 2)}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	_ = pc.SetDeadline(time.Time{})
	read := make(chan error)
	go func() { // awaited below
		_, _, err := pc.ReadFrom(make([]byte, 10))
		read <- err
	}()
	_ = s.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read at the Stack's end: %v", err)
	}
	if _, err := s.ListenPacket(context.Background(), "ip4:icmp", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen after the end: %v", err)
	}
}

// idleConn is a conn on which nothing comes.
func idleConn(t *testing.T) l3conn.Conn {
	x, y := l3conn.Pipe(0, 0)
	t.Cleanup(func() { _ = y.Close() })
	return x
}

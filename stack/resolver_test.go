package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"l3extract/l3conn"
)

// answer returns the DNS message that answers query q: the address for type A or
// AAAA, whatever the name, but no such host for names that begin with "no".
func answer(q []byte, v4, v6 netip.Addr) []byte {
	if len(q) < 12 {
		return nil
	}
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5 // the root label, type and class
	if end > len(q) {
		return nil
	}
	r := append([]byte(nil), q[:end]...)
	binary.BigEndian.PutUint16(r[2:], 0x8180)
	copy(r[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	addr := v4.AsSlice()
	if binary.BigEndian.Uint16(q[end-4:]) == 28 {
		addr = v6.AsSlice()
	}
	if strings.HasPrefix(string(q[13:]), "no") {
		r[3] |= 3
		return r
	}
	r[7] = 1
	r = append(r, 0xc0, 12)
	r = append(r, q[end-4:end]...)
	r = append(r, 0, 0, 0, 60, 0, byte(len(addr)))
	return append(r, addr...)
}

// TestDNS: names are resolved through the packet conn, by the second server when
// the first does not serve; a Config may be used for several stacks.
func TestDNS(t *testing.T) {
	x, y := l3conn.Pipe(0, 0)
	cfg := Config{Addrs: clientAddrs, Resolver: DNS(netip.MustParseAddrPort("10.0.0.1:5353"), netip.MustParseAddrPort("[fd00::1]:53"))}
	if _, err := New(x, &cfg); err != nil { // another stack with the same resolver
		t.Fatal(err)
	}
	c, s := pairOn(t, x, y, cfg, Config{})
	names, err := s.ListenPacket(background, "udp", "[fd00::1]:53")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	served := make(chan struct{})
	go func() { // ends with s
		defer close(served)
		buf := make([]byte, 1500)
		for {
			n, from, err := names.ReadFrom(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			if r := answer(buf[:n], netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")); r != nil {
				_, _ = names.WriteTo(r, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = names.Close()
		<-served
	})
	l, err := s.Listen(background, "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	for network, want := range map[string]string{"tcp": "[fd00::1]:80", "tcp4": "10.0.0.1:80", "tcp6": "[fd00::1]:80"} {
		conn, err := c.DialContext(soon(t), network, "host.example:80")
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.RemoteAddr().String(); got != want {
			t.Errorf("%s: connected to %s, want %s", network, got, want)
		}
		_ = conn.Close()
		_ = a.Close()
	}
	if asked.Load() == 0 {
		t.Error("the server behind the packet conn was not asked")
	}
	_, err = c.DialContext(soon(t), "tcp", "nosuch.example:80")
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("no such host: %v", err)
	}
	outer(t, err, "dial", "tcp")
}

// TestDNSAlone: without a stack or a server it finds nothing, and says why.
func TestDNSAlone(t *testing.T) {
	var dns *net.DNSError
	if _, err := DNS(netip.MustParseAddrPort("10.0.0.1:53")).LookupNetIP(background, "ip", "a.example"); !errors.As(err, &dns) {
		t.Errorf("without a stack: %v", err)
	}
	c, _ := pair(t, Config{Resolver: DNS()}, Config{})
	if _, err := c.DialContext(soon(t), "tcp", "a.example:80"); !errors.As(err, &dns) || !strings.Contains(err.Error(), "no server") {
		t.Errorf("without a server: %v", err)
	}
}

// fixed is a Resolver of one answer.
type fixed []netip.Addr

func (f fixed) LookupNetIP(_ context.Context, _, _ string) ([]netip.Addr, error) { return f, nil }

// TestResolvedLoopback: a name that resolves to an address that is not behind the
// packet conn reaches nobody.
func TestResolvedLoopback(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"} {
		c, _ := pair(t, Config{Resolver: fixed{netip.MustParseAddr(a)}}, Config{})
		for _, network := range []string{"tcp", "udp"} {
			if _, err := c.DialContext(soon(t), network, "evil.example:80"); !errors.Is(err, syscall.ENETUNREACH) {
				t.Errorf("%s to a name for %s: %v", network, a, err)
			}
		}
	}
}

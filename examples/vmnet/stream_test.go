package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"l3extract/l3conn/ether"
	"l3extract/stack"
)

// running is vmnet in this process.
type running struct {
	mu     sync.Mutex
	log    bytes.Buffer
	cancel context.CancelFunc
	done   chan int
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *running) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// await waits until the log has so many lines that hold text.
func (r *running) await(t *testing.T, text string, times int) {
	t.Helper()
	for late := time.Now().Add(patience); strings.Count(r.String(), text) < times; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not %d times %q in the log:\n%s", times, text, r)
		}
	}
}

// start runs vmnet until the end of the test or end.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, done: make(chan int, 1)}
	go func() { r.done <- command(ctx, args, io.Discard, r) }() // awaited by end
	t.Cleanup(func() { cancel() })
	return r
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.cancel()
	if code := <-r.done; code != 0 {
		t.Errorf("exit code %d:\n%s", code, r)
	}
	t.Log("\n" + r.String())
}

// machine is a guest: a Stack with a card of its own, which has no need of DHCP, and
// asks by ARP for every address there is.
func machine(t *testing.T, socket string) (*stack.Stack, net.Conn) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	carrier, err := ether.Stream(c)
	if err != nil {
		t.Fatal(err)
	}
	card, err := ether.New(carrier, &ether.Config{
		MAC:   ether.MAC{0x52, 0x54, 0, 0, 0, 7},
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.127.7/0"), netip.MustParsePrefix("fd6c:3365::7/64")},
		DHCP:  ether.DHCPConfig{Off: true}, RA: ether.RAConfig{Off: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.New(card, &stack.Config{Addrs: card.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() { _ = s.Run(context.Background()) }) // awaited when the test ends
	t.Cleanup(func() {
		_ = s.Close()
		run.Wait()
		card.Close()
	})
	return s, c
}

// asks has a guest ask the gateway for a name that it knows by itself.
func asks(t *testing.T, s *stack.Stack, gateway string) {
	t.Helper()
	c, err := s.DialContext(t.Context(), "tcp", net.JoinHostPort(gateway, "53"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	name := dnsmessage.MustNewName("localhost.")
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	b, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)); err != nil {
		t.Fatal(err)
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	b = make([]byte, int(size[0])<<8|int(size[1]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil || len(m.Answers) != 1 {
		t.Fatalf("%v: %+v", err, m)
	}
}

// TestStreams: each stream is a segment of its own. Guests have the same address, one of
// them breaks its stream, there is one too many, and the others go on.
func TestStreams(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vmnet")
	r := start(t, "-listen", "unix://"+filepath.ToSlash(socket), "-guests", "2", "-drain", "1s", "-proxy-arp")
	r.await(t, "msg=serving", 1)
	one, raw := machine(t, socket)
	asks(t, one, "192.168.127.1")
	two, _ := machine(t, socket)
	asks(t, two, "fd6c:3365::1")
	asks(t, one, "192.168.127.1")

	third, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	r.await(t, "2 guests are here already", 1)
	_ = third.SetDeadline(time.Now().Add(patience))
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one too many: %d, %v", n, err)
	}

	// What is not for guests is refused at once (ICMP: prohibited).
	if c, err := two.DialContext(t.Context(), "tcp", "169.254.169.254:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("metadata of a cloud: %v, %v", c, err)
	}

	if _, err := raw.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil { // a length that lies
		t.Fatal(err)
	}
	r.await(t, "msg=ended", 1)
	r.await(t, "guest is gone", 1)
	asks(t, two, "192.168.127.1")
	three, _ := machine(t, socket) // there is a place again
	asks(t, three, "192.168.127.1")
	r.end(t)
	r.await(t, "msg=summary segments=3 refused=1", 1)
}

// TestLeftSocket: the socket of a vmnet that was killed is in nobody's way, that of one
// that lives is.
func TestLeftSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vmnet")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Skip(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	r := start(t, "-listen", "unix://"+filepath.ToSlash(socket))
	r.await(t, "msg=serving", 1)
	second := start(t, "-listen", "unix://"+filepath.ToSlash(socket))
	if code := <-second.done; code != exitFailed || !strings.Contains(second.String(), "address already in use") {
		t.Errorf("exit code %d: %s", code, second)
	}
	r.end(t)
}

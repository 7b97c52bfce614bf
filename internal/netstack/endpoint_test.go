package netstack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

var families = []struct {
	name           string
	client, server netip.AddrPort
}{
	{"IPv4", netip.MustParseAddrPort("10.0.0.2:0"), netip.MustParseAddrPort("198.51.100.7:80")},
	{"IPv6", netip.MustParseAddrPort("[fd00::2]:0"), netip.MustParseAddrPort("[2001:db8::7]:80")},
}

func TestTransfer(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			a, b := pair(t)
			acc, dial := established(t, a, b, f.client, f.server)
			if acc.Local() != f.server || acc.Remote() != dial.Local() || dial.Remote() != f.server {
				t.Fatalf("ends: accepted %v-%v, dialled %v-%v", acc.Local(), acc.Remote(), dial.Local(), dial.Remote())
			}
			data := make([]byte, 3<<20)
			r := rand.NewChaCha8([32]byte{1})
			_, _ = r.Read(data)
			x, y := block(acc), block(dial)
			for _, dir := range []struct{ from, to *blocking }{{x, y}, {y, x}} {
				go func() {
					_, _ = dir.from.Write(data)
					_ = dir.from.CloseWrite()
				}()
				got, err := io.ReadAll(dir.to)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(data))
				}
				if _, err := dir.to.Read(make([]byte, 1)); err != io.EOF {
					t.Fatalf("second read after FIN: %v", err)
				}
			}
			if _, err := x.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
				t.Fatalf("write after CloseWrite: %v", err)
			}
			acc.Close()
			dial.Close()
			if n := a.engine.flows.len() + b.engine.flows.len(); n != 0 {
				t.Fatalf("%d flows kept after Close", n)
			}
		})
	}
}

// TestResetIsLatched: data that came before the reset stays readable, and then
// every call gives the reset, whoever asks first.
func TestResetIsLatched(t *testing.T) {
	a, b := pair(t)
	acc, dial := established(t, a, b, families[0].client, families[0].server)
	x := block(acc)
	if _, err := dial.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(x, got[:1]); err != nil {
		t.Fatal(err)
	}
	dial.Abort()
	for acc.State() != StateError {
		<-x.wake
	}
	if _, err := acc.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("write: %v", err)
	}
	if _, err := io.ReadFull(x, got[1:]); err != nil || string(got) != "before" {
		t.Fatalf("data before the reset: %q, %v", got, err)
	}
	for range 3 {
		if _, err := x.Read(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("read: %v", err)
		}
		if _, err := acc.Write(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("write: %v", err)
		}
	}
	acc.Close()
}

func TestPeekAndDiscard(t *testing.T) {
	a, b := pair(t)
	acc, dial := established(t, a, b, families[0].client, families[0].server)
	x := block(acc)
	want := bytes.Repeat([]byte("0123456789"), 700)
	for i := 0; i < len(want); i += 1000 {
		if _, err := dial.Write(want[i : i+1000]); err != nil {
			t.Fatal(err)
		}
	}
	for acc.Buffered() < len(want) {
		<-x.wake
	}
	vec, err := acc.Peek(make([][]byte, 0, 64))
	if err != nil || !bytes.Equal(bytes.Join(vec, nil), want) {
		t.Fatalf("Peek: %d bytes, %v", len(bytes.Join(vec, nil)), err)
	}
	if vec, err = acc.Peek(make([][]byte, 0, 2)); err != nil || len(vec) != 2 {
		t.Fatalf("Peek into 2: %d chunks, %v", len(vec), err)
	}
	if n, err := acc.Discard(4321); n != 4321 || err != nil {
		t.Fatalf("Discard = %d, %v", n, err)
	}
	rest := make([]byte, len(want)-4321)
	if _, err := io.ReadFull(x, rest); err != nil || !bytes.Equal(rest, want[4321:]) {
		t.Fatalf("rest: %v", err)
	}
	if _, err := acc.Peek(make([][]byte, 0, 2)); err != ErrWouldBlock {
		t.Fatalf("Peek with nothing there: %v", err)
	}
	acc.Close()
	dial.Close()
}

func TestHandshakeGivenUp(t *testing.T) {
	a, b := pair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	dctx, dcancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer dcancel()
	dialled := make(chan error, 1)
	go func() {
		_, err := b.engine.Dial(dctx, families[0].client, families[0].server, EndpointOptions{})
		dialled <- err
	}()
	syn := <-a.syns
	cancel(why)
	if _, err := a.engine.Handshake(ctx, syn, EndpointOptions{}); !errors.Is(err, why) {
		t.Fatalf("Handshake: %v", err)
	}
	a.link.WriteControl(resetFor(t, syn))
	if err := <-dialled; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("Dial: %v", err)
	}
	if n := a.engine.flows.len() + b.engine.flows.len(); n != 0 {
		t.Fatalf("%d flows kept", n)
	}
}

// TestHandshakeTimesOut: the peer never completes; the context's end resets it.
func TestHandshakeTimesOut(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	a := newHost(t, x, 1500)
	syn := forgedSYN("192.0.2.9:1234", "198.51.100.7:80")
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := a.engine.Handshake(ctx, syn, EndpointOptions{})
		answered <- err
	}()
	if p := readTCP(t, y); p.Flags != packet.SYN|packet.ACK || p.Ack != 78 {
		t.Fatalf("first answer has flags %#x and acknowledges %d", p.Flags, p.Ack)
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("Handshake: %v", err)
	}
	for readTCP(t, y).Flags&packet.RST == 0 { // a repeated SYN-ACK may be ahead of it
	}
	if n := a.engine.flows.len(); n != 0 {
		t.Fatalf("%d flows kept", n)
	}
}

// TestPortsComeAgainLate: dials take one port after the other, skip those that
// are taken, and say so when there is none.
func TestPortsComeAgainLate(t *testing.T) {
	a, b := pair(t)
	seen := make(map[uint16]bool)
	for range 50 {
		acc, dial := established(t, a, b, families[0].client, families[0].server)
		port := dial.Local().Port()
		if seen[port] || port < firstPort || port > lastPort {
			t.Fatalf("port %d, %d ports before", port, len(seen))
		}
		seen[port] = true
		acc.Abort()
		dial.Abort()
	}
	taken := netip.AddrPortFrom(families[0].client.Addr(), 40000)
	acc, dial := established(t, a, b, taken, families[0].server)
	defer acc.Abort()
	defer dial.Abort()
	if _, err := b.engine.Dial(t.Context(), taken, families[0].server, EndpointOptions{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("dial from a port that is taken: %v", err)
	}
}

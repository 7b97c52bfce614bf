package netstack

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// segment returns the packet that h describes.
func segment(t testing.TB, h packet.TCPHeader, payload string) *packet.Packet {
	t.Helper()
	p := new(packet.Packet)
	if c := p.Decode(packet.AppendTCP(nil, h, []byte(payload))); c != drop.None {
		t.Fatal(c)
	}
	return p
}

// TestGiveUpUnderFire: segments that arrive for a half-open connection while its
// handshake is given up must not meet an endpoint without a handshake, which the
// engine answers with a panic in a goroutine of its own.
func TestGiveUpUnderFire(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	a := newHost(t, x, 1500)
	var drain sync.WaitGroup
	drain.Go(func() { // ends when the pipe is closed
		b := make([]byte, 1500)
		for {
			if _, err := y.Read(b); err != nil {
				return
			}
		}
	})
	t.Cleanup(drain.Wait)
	t.Cleanup(func() { _ = y.Close() })

	dst := netip.MustParseAddrPort("198.51.100.7:80")
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for i := range rounds {
		src := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), uint16(1024+i))
		syn := forgedSYN(src.String(), dst.String())
		again := segment(t, packet.TCPHeader{Src: src, Dst: dst, Seq: 77, Flags: packet.SYN, Window: 65535}, "")
		stray := segment(t, packet.TCPHeader{Src: src, Dst: dst, Seq: 9, Ack: 5, Flags: packet.ACK, Window: 65535}, "x")
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() { // ends because ctx does
			_, err := a.engine.Handshake(ctx, syn, EndpointOptions{})
			answered <- err
		}()
		for a.engine.flows.get(tuple{dst, src}) == nil { // until the SYN-ACK is out
			a.engine.DeliverTCP(again)
		}
		cancel()
		for over := false; !over; {
			a.engine.DeliverTCP(again)
			a.engine.DeliverTCP(stray)
			select {
			case err := <-answered:
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("Handshake: %v", err)
				}
				over = true
			default:
			}
		}
	}
	if n := a.engine.flows.len(); n != 0 {
		t.Fatalf("%d flows kept", n)
	}
}

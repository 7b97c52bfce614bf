package netstack

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// TestGivenUpResetFitsPeer: the reset of a handshake that was given up must be
// acceptable to a peer that has our SYN-ACK (RFC 5961, 3.2: its sequence number is
// the very next one) as well as to one that has not (it acknowledges the SYN).
func TestGivenUpResetFitsPeer(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	a := newHost(t, x, 1500)
	syn := forgedSYN("192.0.2.9:1234", "198.51.100.7:80")
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() { // ends because ctx does
		_, err := a.engine.Handshake(ctx, syn, EndpointOptions{})
		answered <- err
	}()
	iss := readTCP(t, y).Seq
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("Handshake: %v", err)
	}
	for {
		p := readTCP(t, y)
		if p.Flags&packet.RST == 0 {
			continue // the SYN-ACK once more
		}
		if p.Seq != iss+1 || p.Flags != packet.RST|packet.ACK || p.Ack != 78 {
			t.Fatalf("reset has flags %#x, sequence number ISS%+d, acknowledges %d", p.Flags, int32(p.Seq-iss), p.Ack)
		}
		return
	}
}

// TestHandshakeTwice: a 4-tuple is answered once at a time, and the other caller
// is told at once.
func TestHandshakeTwice(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	a := newHost(t, x, 1500)
	syn := forgedSYN("192.0.2.9:1234", "198.51.100.7:80")
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() { // ends because ctx does
		_, err := a.engine.Handshake(ctx, syn, EndpointOptions{})
		answered <- err
	}()
	readTCP(t, y)
	if _, err := a.engine.Handshake(ctx, syn, EndpointOptions{}); !errors.Is(err, syscall.EALREADY) {
		t.Errorf("second Handshake: %v", err)
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("first Handshake: %v", err)
	}
	if _, err := a.engine.Handshake(t.Context(), &SYN{Raw: []byte{1}, Source: syn.Source, Destination: syn.Destination}, EndpointOptions{}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Handshake of garbage: %v", err)
	}
}

// TestCloseEndsCalls: Close ends Handshakes and Dials that nobody answers, at
// whatever moment, although their contexts live on.
func TestCloseEndsCalls(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for i := range rounds {
		x, y := l3conn.Pipe(0, 1500)
		a := newHost(t, x, 1500)
		var calls sync.WaitGroup
		start := make(chan struct{})
		for j := range 4 {
			calls.Go(func() { // ends because the engine does
				<-start
				var err error
				if j%2 == 0 {
					syn := forgedSYN(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), uint16(1000+j)).String(), "198.51.100.7:80")
					_, err = a.engine.Handshake(context.Background(), syn, EndpointOptions{})
				} else {
					_, err = a.engine.Dial(context.Background(), families[j/2].client, families[j/2].server, EndpointOptions{})
				}
				if !errors.Is(err, syscall.ECONNABORTED) {
					t.Errorf("call %d: %v", j, err)
				}
			})
		}
		close(start)
		if i%2 == 0 {
			_, _ = y.Read(make([]byte, 1500)) // at least one has begun
		}
		a.engine.Close()
		calls.Wait()
		if n := a.engine.flows.len(); n != 0 {
			t.Fatalf("%d flows kept", n)
		}
	}
}

// TestCloseDuringTraffic: Close with data under way both ways ends all calls with
// one error for ever, and never with EOF.
func TestCloseDuringTraffic(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		a, b := pair(t)
		f := families[i%2]
		acc, dial := established(t, a, b, f.client, f.server)
		var calls sync.WaitGroup
		ends := []*blocking{block(acc), block(dial)}
		buf := make([]byte, 1<<20)
		moved := make(chan struct{}, 1)
		for _, e := range ends {
			calls.Go(func() { // ends with the engines
				for {
					if _, err := e.Endpoint.Read(make([]byte, 4096)); err == ErrWouldBlock {
						<-e.wake
						e.wake.Notify(0) // it is the writer's wake-up, too
					} else if err != nil {
						if !errors.Is(err, syscall.ECONNABORTED) && !errors.Is(err, syscall.ECONNRESET) {
							t.Errorf("Read: %v", err)
						}
						return
					} else {
						select {
						case moved <- struct{}{}:
						default:
						}
					}
				}
			})
			calls.Go(func() { // ends with the engines
				for {
					if _, err := e.Endpoint.Write(buf); err == ErrWouldBlock {
						<-e.wake
						e.wake.Notify(0)
					} else if err != nil {
						if !errors.Is(err, syscall.ECONNABORTED) && !errors.Is(err, syscall.ECONNRESET) {
							t.Errorf("Write: %v", err)
						}
						return
					}
				}
			})
		}
		<-moved
		a.engine.Close()
		b.engine.Close()
		calls.Wait()
	}
}

// TestGivenUpBeforehand: a handshake whose context has ended already resets the
// peer like any other, which would wait for an answer else.
func TestGivenUpBeforehand(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	a := newHost(t, x, 1500)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.engine.Handshake(ctx, forgedSYN("192.0.2.9:1234", "198.51.100.7:80"), EndpointOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Handshake: %v", err)
	}
	if p := readTCP(t, y); p.Flags != packet.RST|packet.ACK || p.Ack != 78 {
		t.Fatalf("answer has flags %#x and acknowledges %d", p.Flags, p.Ack)
	}
}

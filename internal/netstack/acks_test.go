package netstack

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// byHand is the client of one connection, played by the test.
type byHand struct {
	t        *testing.T
	host     *host
	conn     l3conn.Conn
	src, dst netip.AddrPort
	seq, ack uint32
	ep       *Endpoint
}

// connectByHand returns an established connection.
func connectByHand(t *testing.T) *byHand { return connectByHandWith(t, nil) }

// connectByHandWith returns one whose SYN has options.
func connectByHandWith(t *testing.T, options []byte) *byHand {
	t.Helper()
	x, y := l3conn.Pipe(0, 1500)
	t.Cleanup(func() { _ = y.Close() })
	c := &byHand{t: t, host: newHost(t, x, 1500), conn: y,
		src: netip.MustParseAddrPort("192.0.2.9:1234"), dst: netip.MustParseAddrPort("198.51.100.7:80"), seq: 78}
	type result struct {
		ep  *Endpoint
		err error
	}
	got := make(chan result, 1)
	syn := &SYN{Source: c.src, Destination: c.dst, Raw: packet.AppendTCP(nil, packet.TCPHeader{
		Src: c.src, Dst: c.dst, Seq: c.seq - 1, Flags: packet.SYN, Window: 65535, Options: options,
	}, nil)}
	c.host.engine.Answer(syn, EndpointOptions{}, func(ep *Endpoint, err error) { got <- result{ep, err} })
	c.ack = readTCP(t, y).Seq + 1
	c.send(packet.ACK, 0, "")
	r := await(t, "the connection", got)
	if r.err != nil {
		t.Fatal(r.err)
	}
	c.ep = r.ep
	return c
}

// send sends a segment that begins gap bytes behind the last one.
func (c *byHand) send(flags uint8, gap uint32, payload string) {
	c.t.Helper()
	p := segment(c.t, packet.TCPHeader{Src: c.src, Dst: c.dst, Seq: c.seq + gap, Ack: c.ack, Flags: flags, Window: 65535}, payload)
	if _, err := c.conn.Write(p.Raw); err != nil {
		c.t.Fatal(err)
	}
	if gap == 0 {
		c.seq += uint32(len(payload))
	}
}

func (c *byHand) held() bool {
	a := &c.host.engine.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting.First() != nil
}

// TestAcknowledgementWithAnswer: a small request is acknowledged by its answer alone.
func TestAcknowledgementWithAnswer(t *testing.T) {
	c := connectByHand(t)
	wake := make(events, 1)
	c.ep.SetNotifier(wake)
	for i := range 100 {
		c.send(packet.ACK|packet.PSH, 0, "?")
		b := make([]byte, 1)
		for {
			if _, err := c.ep.Read(b); err != ErrWouldBlock {
				break
			}
			<-wake
		}
		if _, err := c.ep.Write([]byte("!")); err != nil {
			t.Fatal(err)
		}
		p := readTCP(t, c.conn)
		for len(p.Payload) == 0 && c.ep.flow.ack.quick.Load() > 0 { // a slow machine took longer than ackHold
			p = readTCP(t, c.conn)
		}
		if string(p.Payload) != "!" || p.Ack != c.seq {
			t.Fatalf("round %d: payload %q, acknowledges %d bytes less", i, p.Payload, c.seq-p.Ack)
		}
		c.ack += uint32(len(p.Payload))
	}
}

// TestAcknowledgementAlone: without an answer a request is acknowledged all the same,
// and the ones after it at once.
func TestAcknowledgementAlone(t *testing.T) {
	c := connectByHand(t)
	for range 3 {
		c.send(packet.ACK|packet.PSH, 0, "?")
		if p := readTCP(t, c.conn); p.Flags != packet.ACK || p.Ack != c.seq || len(p.Payload) > 0 {
			t.Fatalf("flags %#x, acknowledges %d bytes less", p.Flags, c.seq-p.Ack)
		}
	}
	if got := c.ep.flow.ack.quick.Load(); got != ackQuick-2 {
		t.Errorf("%d more are not to be held, want %d", got, ackQuick-2)
	}
}

// TestUrgentAcknowledgements: what is acknowledged twice, and what is much, leaves at
// once.
func TestUrgentAcknowledgements(t *testing.T) {
	for name, play := range map[string]func(c *byHand){
		"gap":  func(c *byHand) { c.send(packet.ACK, 100, "?") },
		"much": func(c *byHand) { c.send(packet.ACK, 0, strings.Repeat("?", 1200)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := connectByHand(t)
			play(c)
			if p := readTCP(t, c.conn); p.Flags != packet.ACK || p.Ack != c.seq {
				t.Errorf("flags %#x, acknowledges %d bytes less", p.Flags, c.seq-p.Ack)
			}
			if c.held() || c.ep.flow.ack.quick.Load() != 0 {
				t.Error("it was held")
			}
		})
	}
}

// TestResetDropsAcknowledgement: nothing is said behind a reset.
func TestResetDropsAcknowledgement(t *testing.T) {
	c := connectByHand(t)
	c.send(packet.ACK|packet.PSH, 0, "?")
	until(t, "the segment", func() bool { return c.ep.Buffered() > 0 })
	c.ep.Abort()
	for {
		p := readTCP(t, c.conn)
		if p.Flags&packet.RST != 0 {
			break
		}
	}
	if c.held() {
		t.Error("an acknowledgement is still held")
	}
}

// TestAnswerReset: a client that resets before the handshake is over ends the answer.
func TestAnswerReset(t *testing.T) {
	x, y := l3conn.Pipe(0, 1500)
	defer y.Close()
	a := newHost(t, x, 1500)
	got := make(chan error, 1)
	syn := forgedSYN("192.0.2.9:1234", "198.51.100.7:80")
	giveUp := a.engine.Answer(syn, EndpointOptions{}, func(_ *Endpoint, err error) { got <- err })
	readTCP(t, y)
	for _, seq := range []uint32{77, 78} { // the first is none of this connection's (RFC 5961)
		p := segment(t, packet.TCPHeader{Src: syn.Source, Dst: syn.Destination, Seq: seq, Flags: packet.RST}, "")
		if _, err := y.Write(p.Raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := await(t, "the end of the answer", got); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the answer ended with %v", err)
	}
	giveUp(errors.New("late")) // does nothing
	if n := a.engine.flows.len(); n != 0 {
		t.Errorf("%d flows kept", n)
	}
}

// TestHeldAcknowledgementIsNotPostponed: what comes meanwhile does not make it wait
// longer: a peer that sends a little again and again is acknowledged while it does.
func TestHeldAcknowledgementIsNotPostponed(t *testing.T) {
	c := connectByHand(t)
	c.send(packet.ACK|packet.PSH, 0, "?")
	a := &c.host.engine.acks
	first := func() (at time.Time) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if h := c.ep.flow.ack.held; h != nil {
			at = h.until
		}
		return at
	}
	var leaves time.Time
	until(t, "it to be held, or to have left", func() bool {
		leaves = first()
		return !leaves.IsZero() || c.ep.flow.ack.quick.Load() > 0
	})
	for range 19 {
		c.send(packet.ACK|packet.PSH, 0, "?")
	}
	until(t, "all segments", func() bool { return c.ep.Buffered() == 20 })
	if now := first(); !now.IsZero() && !leaves.IsZero() && now.After(leaves) {
		t.Errorf("it waits %v longer", now.Sub(leaves))
	}
	for p := readTCP(t, c.conn); p.Ack != c.seq; p = readTCP(t, c.conn) {
	}
}

// TestDuplicateAcknowledgements: with one held, those that tell of a gap leave all the
// same, and each: without them nobody retransmits fast (RFC 5681, 3.2).
func TestDuplicateAcknowledgements(t *testing.T) {
	c := connectByHand(t)
	c.send(packet.ACK|packet.PSH, 0, "?")
	until(t, "the segment", func() bool { return c.ep.Buffered() > 0 })
	const gaps = 5
	for i := range uint32(gaps) {
		before := c.ep.Info().SegmentsOut
		c.send(packet.ACK, 100+100*i, "?")
		// Else the engine may answer several at once.
		until(t, "its answer", func() bool { return c.ep.Info().SegmentsOut > before })
	}
	for range gaps {
		if p := readTCP(t, c.conn); p.Ack != c.seq || len(p.Payload) > 0 {
			t.Fatalf("acknowledges %d bytes less", c.seq-p.Ack)
		}
	}
}

// TestAcknowledgementAhead: one of bytes that were never sent makes no room.
func TestAcknowledgementAhead(t *testing.T) {
	c := connectByHand(t)
	n, err := c.ep.Write(make([]byte, 1<<20))
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	c.ack += 4 << 20
	c.send(packet.ACK|packet.PSH, 0, "?")
	until(t, "it to be seen", func() bool { return c.ep.flow.ahead.Load() != 0 })
	if got := c.ep.SendQueued(); got < n {
		t.Errorf("%d of %d bytes count as queued", got, n)
	}
}

// answering returns a SYN that was answered.
func answering(t *testing.T) (conn l3conn.Conn, a *host, synAck *packet.Packet, ended <-chan error) {
	t.Helper()
	x, y := l3conn.Pipe(0, 1500)
	t.Cleanup(func() { _ = y.Close() })
	a = newHost(t, x, 1500)
	got := make(chan error, 1)
	a.engine.Answer(forgedSYN("192.0.2.9:1234", "198.51.100.7:80"), EndpointOptions{}, func(_ *Endpoint, err error) { got <- err })
	return y, a, readTCP(t, y), got
}

// TestAnswerEndedByEngine: whatever makes the engine give a request up ends its answer:
// a RST anywhere in the window (RFC 9293, 3.5.3), and another SYN (3.10.7.4).
func TestAnswerEndedByEngine(t *testing.T) {
	for name, h := range map[string]packet.TCPHeader{
		"RST in the window": {Seq: 78 + 1000, Flags: packet.RST | packet.ACK},
		"another SYN":       {Seq: 78 + 5000, Flags: packet.SYN},
	} {
		t.Run(name, func(t *testing.T) {
			conn, a, synAck, ended := answering(t)
			h.Src, h.Dst, h.Ack, h.Window = synAck.DstAddrPort(), synAck.SrcAddrPort(), synAck.Seq+1, 65535
			if h.Flags&packet.ACK == 0 {
				h.Ack = 0
			}
			if _, err := conn.Write(segment(t, h, "").Raw); err != nil {
				t.Fatal(err)
			}
			if err := await(t, "the end of the answer", ended); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("ended with %v", err)
			}
			if a.engine.answering.Load() {
				t.Error("there is an answer still")
			}
		})
	}
}

// TestDoomedIsLookedAfter: what was given up before there was an endpoint is aborted,
// however many connections are established meanwhile.
func TestDoomedIsLookedAfter(t *testing.T) {
	c := connectByHand(t)
	e := c.host.engine
	e.mu.Lock()
	e.doomed[tuple{c.dst, netip.MustParseAddrPort("192.0.2.9:9")}] = doomTries // none will come
	e.mu.Unlock()
	until(t, "it to be given up", func() bool {
		e.greet() // as an established connection does
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.doomed) == 0
	})
}

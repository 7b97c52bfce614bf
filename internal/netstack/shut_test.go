package netstack

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// shut is a connection whose peer has sent to the edge of the window that it was given,
// and which the engine has shut before that edge.
func shut(t *testing.T) *byHand {
	t.Helper()
	const scale = 8
	c := connectByHandWith(t, []byte{2, 4, 5, 180, 1, 3, 3, 0}) // MSS 1460, window scale 0
	c.send(packet.ACK, 0, strings.Repeat("x", 1000))
	edge := uint32(0)
	for {
		p := readTCP(t, c.conn)
		win := uint32(p.Window) << scale
		edge = max(edge, p.Ack+win)
		switch {
		case p.Ack != c.seq: // there is more to be acknowledged
		case c.seq == edge:
			t.Fatal("the window was shut at its edge: nothing is tested")
		case win == 0:
			c.send(packet.ACK, 0, strings.Repeat("x", int(edge-c.seq))) // which the engine drops
			return c
		default:
			// The last but one leaves less than a unit of the scale.
			c.send(packet.ACK, 0, strings.Repeat("x", int(min(1000, edge-c.seq-100))))
		}
	}
}

// TestAcknowledgementBeyondShutWindow: what the peer acknowledges counts even if it
// stands beyond a window that was shut on it.
func TestAcknowledgementBeyondShutWindow(t *testing.T) {
	c := shut(t)
	wake := make(events, 1)
	c.ep.SetNotifier(wake)
	written := 0
	for {
		n, err := c.ep.Write(make([]byte, 1000))
		if written += n; err == ErrWouldBlock {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < 5000; {
		p := readTCP(t, c.conn)
		if len(p.Payload) > 0 {
			got += len(p.Payload)
			c.ack = p.Seq + uint32(len(p.Payload))
		}
	}
	c.send(packet.ACK, 0, "")
	until(t, "room in the send buffer", func() bool {
		n, err := c.ep.Write([]byte("x"))
		return n > 0 && err == nil
	})
}

// TestResetBeyondShutWindow: a reset from there is asked about, and obeyed if it then comes
// with the very next number.
func TestResetBeyondShutWindow(t *testing.T) {
	c := shut(t)
	c.send(packet.RST, mostShut+1, "")
	var next uint32
	for end := time.Now().Add(patience); ; { // the engine answers such things now and then only
		if time.Now().After(end) {
			t.Fatal("a reset was not asked about")
		}
		c.send(packet.RST|packet.ACK, 0, "")
		_ = c.conn.(interface{ SetReadDeadline(time.Time) error }).SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		var p packet.Packet
		b := make([]byte, 1500)
		if n, err := c.conn.Read(b); err == nil && p.Decode(b[:n]) == drop.None && p.Window == 0 {
			next = p.Ack
			break
		}
	}
	if _, err := c.ep.Write([]byte("x")); err != nil {
		t.Fatalf("a reset with another number than the next one was obeyed: %v", err)
	}
	c.send(packet.RST, next-c.seq, "")
	until(t, "the reset", func() bool {
		_, err := c.ep.Write([]byte("x"))
		return errors.Is(err, syscall.ECONNRESET)
	})
}

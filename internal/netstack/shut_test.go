package netstack

import (
	"errors"
	"strings"
	"syscall"
	"testing"

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

// TestResetBeyondShutWindow: a reset ends the connection even then, unless it is from
// further than a peer can be.
func TestResetBeyondShutWindow(t *testing.T) {
	c := shut(t)
	c.send(packet.RST, mostShut+1, "")
	c.send(packet.RST, 0, "")
	until(t, "the reset", func() bool {
		_, err := c.ep.Write([]byte("x"))
		return errors.Is(err, syscall.ECONNRESET)
	})
}

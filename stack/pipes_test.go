package stack

import (
	"net/netip"
	"testing"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// TestBothWaysOnEveryConn: bulk both ways at once arrives whole, whatever the conn
// can do.
func TestBothWaysOnEveryConn(t *testing.T) {
	for _, kind := range pipes {
		t.Run(kind.name, func(t *testing.T) {
			x, y := kind.make()
			c, s := pairOn(t, x, y, Config{}, Config{})
			a, b, err := connect(c, s)
			if err != nil {
				t.Fatal(err)
			}
			bothWays(t, a, b, 32<<20)
			for _, st := range []Stats{c.Stats(), s.Stats()} {
				for _, cause := range []string{"l4_checksum", "v4_checksum", "data_queue_full", "transport_undelivered", "conn_too_large"} {
					if n := st.Drops[cause]; n != 0 {
						t.Errorf("%d packets dropped: %s", n, cause)
					}
				}
			}
		})
	}
}

// TestDatagramRuns: a run of datagrams behind one header, as a kernel's UDP_SEGMENT
// makes it, comes out one by one.
func TestDatagramRuns(t *testing.T) {
	for _, ends := range [][2]string{{"10.0.0.2:1000", "198.51.100.7:53"}, {"[fd00::2]:1000", "[2001:db8::7]:53"}} {
		x, y := l3conn.SegmentPipe(nil)
		s := newStack(t, x, Config{})
		sockets := s.UDP()
		payload := []byte("first.second.3")
		src, dst := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		raw := packet.AppendUDP(nil, src, dst, 0, 0, payload)
		seg := l3conn.Segment{Parts: [][]byte{raw}, Kind: l3conn.SegmentUDP, PayloadSize: 6}
		if err := seg.ToPartial(len(raw)); err != nil {
			t.Fatal(err)
		}
		if err := seg.Describe(len(raw)); err != nil {
			t.Fatal(err)
		}
		<-s.started
		if _, err := y.WriteSegments([]l3conn.Segment{seg}); err != nil {
			t.Fatal(err)
		}
		sock, err := sockets.AcceptSocket(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"first.", "second", ".3"} {
			b := make([]byte, 100)
			n, from, err := sock.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:n]) != want || from != dst {
				t.Fatalf("datagram %q from %v, %v; want %q", b[:n], from, err, want)
			}
		}
	}
}

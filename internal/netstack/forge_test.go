package netstack

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// forgedSYN is a connection request that nobody will complete.
func forgedSYN(from, to string) *SYN {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return &SYN{Source: src, Destination: dst,
		Raw: packet.AppendTCP(nil, packet.TCPHeader{Src: src, Dst: dst, Seq: 77, Flags: packet.SYN, Window: 65535}, nil)}
}

func resetFor(t *testing.T, syn *SYN) []byte {
	t.Helper()
	var p packet.Packet
	if c := p.Decode(syn.Raw); c != drop.None {
		t.Fatalf("kept SYN: %v", c)
	}
	return packet.AppendReset(nil, &p)
}

// patience bounds what must happen, with room for a slow machine.
const patience = 20 * time.Second

// until waits for what happens without telling anybody.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// await returns what comes on ch.
func await[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("waited too long for %s", what)
	}
	return v
}

// readTCP returns the next packet that came out of the engine, which is TCP.
func readTCP(t *testing.T, conn l3conn.Conn) *packet.Packet {
	t.Helper()
	if d, ok := conn.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Now().Add(patience))
	}
	b := make([]byte, 1500)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	p := new(packet.Packet)
	if c := p.Decode(b[:n]); c != drop.None || p.Proto != packet.TCP || !p.ChecksumOK() {
		t.Fatalf("packet out: %v, protocol %d", c, p.Proto)
	}
	return p
}

package stack

import (
	"bytes"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"l3extract/internal/packet"
	"l3extract/tcp"
)

// TestHardICMPError: errors that would end a dial do not end a stream that stands,
// however right what they quote is (RFC 5927, 5.2).
func TestHardICMPError(t *testing.T) {
	for _, to := range []string{"198.51.100.7:80", "[2001:db8::7]:80"} {
		var mu sync.Mutex
		var last packet.Packet // the client's last data segment
		x, y, tp := tapped(t, func(p *packet.Packet, fromA bool) {
			if fromA && len(p.Payload) > 0 {
				mu.Lock()
				defer mu.Unlock()
				if last.Raw == nil || int32(p.Seq-last.Seq) > 0 { // not one that is sent again
					_ = last.Decode(bytes.Clone(p.Raw))
				}
			}
		})
		c, s := pairOn(t, x, y, Config{}, Config{})
		streams := s.TCP().Streams()
		conn, err := c.DialContext(soon(t), "tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		a, b := conn.(*tcp.Stream), <-streams
		send := func() {
			t.Helper()
			if _, err := a.Write(make([]byte, 20_000)); err != nil {
				t.Fatalf("%s: write: %v", to, err)
			}
			if _, err := readFull(b, 20_000); err != nil {
				t.Fatalf("%s: read: %v", to, err)
			}
		}
		send()
		before := c.Stats().Drops
		for _, kind := range []packet.Unreachable{
			packet.NetUnreachable, packet.HostUnreachable, packet.ProtocolUnreachable,
			packet.PortUnreachable, packet.AdminProhibited,
		} {
			mu.Lock()
			q := packet.AppendTCP(nil, packet.TCPHeader{
				Src: last.SrcAddrPort(), Dst: last.DstAddrPort(), Seq: last.Seq + uint32(len(last.Payload)), Flags: packet.ACK,
			}, nil)
			router := netip.MustParseAddr("192.0.2.1")
			if last.Version == 6 {
				router = netip.MustParseAddr("2001:db8::1")
			}
			mu.Unlock()
			if _, err := tp.a.Write(packet.AppendICMPError(nil, router, kind, q, 0)); err != nil {
				t.Fatal(err)
			}
			send() // the next quotes another sequence number
		}
		for ctx := soon(t); len(c.icmp.errors) > 0 && ctx.Err() == nil; {
			runtime.Gosched()
		}
		for range 10 {
			send()
		}
		for cause, n := range c.Stats().Drops {
			if n != before[cause] {
				t.Errorf("%s: %d dropped as %s: what was forged is not right", to, n-before[cause], cause)
			}
		}
		_ = a.CloseWrite()
		if rest, err := io.ReadAll(b); err != nil || len(rest) > 0 {
			t.Errorf("%s: the end: %d bytes, %v", to, len(rest), err)
		}
		_ = a.Close()
		_ = b.Close()
	}
}

package netstack

import (
	"bytes"
	"net/netip"
	"testing"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// decoded is a segment built from h, decoded.
func decoded(t *testing.T, h packet.TCPHeader, payload string) *packet.Packet {
	t.Helper()
	if !h.Src.IsValid() {
		h.Src, h.Dst = netip.MustParseAddrPort("10.0.0.2:1000"), netip.MustParseAddrPort("10.0.0.1:80")
	}
	p := new(packet.Packet)
	if c := p.Decode(packet.AppendTCP(nil, h, []byte(payload))); c != drop.None {
		t.Fatal(c)
	}
	return p
}

func TestMerges(t *testing.T) {
	base := packet.TCPHeader{Seq: 100, Ack: 7, Window: 500, Flags: packet.ACK, Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}}
	next := base
	next.Seq = 104
	with := func(f func(*packet.TCPHeader)) packet.TCPHeader {
		h := next
		h.Options = bytes.Clone(next.Options)
		f(&h)
		return h
	}
	for _, tc := range []struct {
		name       string
		prev, next packet.TCPHeader
		data       [2]string
		total      int
		want       bool
	}{
		{"in order", base, next, [2]string{"1234", "5678"}, 4, true},
		{"PSH on the last", base, with(func(h *packet.TCPHeader) { h.Flags |= packet.PSH }), [2]string{"1234", "5678"}, 4, true},
		{"behind PSH", with(func(h *packet.TCPHeader) { h.Seq, h.Flags = 100, packet.ACK|packet.PSH }), next, [2]string{"1234", "5678"}, 4, true},
		{"gap", base, with(func(h *packet.TCPHeader) { h.Seq++ }), [2]string{"1234", "5678"}, 4, false},
		{"repeated", base, base, [2]string{"1234", "1234"}, 4, false},
		{"other ACK", base, with(func(h *packet.TCPHeader) { h.Ack++ }), [2]string{"1234", "5678"}, 4, false},
		{"other window", base, with(func(h *packet.TCPHeader) { h.Window++ }), [2]string{"1234", "5678"}, 4, false},
		{"other timestamp", base, with(func(h *packet.TCPHeader) { h.Options[7]++ }), [2]string{"1234", "5678"}, 4, false},
		{"FIN", base, with(func(h *packet.TCPHeader) { h.Flags |= packet.FIN }), [2]string{"1234", "5678"}, 4, false},
		{"RST", base, with(func(h *packet.TCPHeader) { h.Flags |= packet.RST }), [2]string{"1234", "5678"}, 4, false},
		{"URG", base, with(func(h *packet.TCPHeader) { h.Flags |= packet.URG }), [2]string{"1234", "5678"}, 4, false},
		{"SYN before", with(func(h *packet.TCPHeader) { h.Seq, h.Flags = 100, packet.SYN|packet.ACK }), next, [2]string{"1234", "5678"}, 4, false},
		{"no payload", base, next, [2]string{"1234", ""}, 4, false},
		{"other TTL", base, with(func(h *packet.TCPHeader) { h.TTL = 9 }), [2]string{"1234", "5678"}, 4, false},
		{"other port", base, with(func(h *packet.TCPHeader) {
			h.Src, h.Dst = netip.MustParseAddrPort("10.0.0.2:1001"), netip.MustParseAddrPort("10.0.0.1:80")
		}), [2]string{"1234", "5678"}, 4, false},
		{"other address", base, with(func(h *packet.TCPHeader) {
			h.Src, h.Dst = netip.MustParseAddrPort("10.0.0.3:1000"), netip.MustParseAddrPort("10.0.0.1:80")
		}), [2]string{"1234", "5678"}, 4, false},
		{"full", base, next, [2]string{"1234", "5678"}, maxMerge - 3, false},
	} {
		if got := Merges(decoded(t, tc.prev, tc.data[0]), decoded(t, tc.next, tc.data[1]), tc.total); got != tc.want {
			t.Errorf("%s: Merges = %v", tc.name, got)
		}
	}
}

// TestCut: every packet of a cut segment is right by itself: lengths, checksums,
// sequence numbers, identification, flags.
func TestCut(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			x, y := l3conn.Pipe(1024, 1500)
			z, w := l3conn.Pipe(1024, 1500)
			a, b := newHost(t, x, 1500), newHost(t, z, 1500)
			var segments []*packet.Packet
			stop := make(chan struct{})
			relay := func(from, to *l3conn.PipeEnd, keep bool) {
				buf := make([]byte, 65536)
				for {
					n, err := from.Read(buf)
					if err != nil {
						stop <- struct{}{}
						return
					}
					p := new(packet.Packet)
					if c := p.Decode(bytes.Clone(buf[:n])); c != drop.None || !p.ChecksumOK() {
						t.Errorf("packet out: %v, checksum %v", c, p.ChecksumOK())
					} else if keep && len(p.Payload) > 0 {
						segments = append(segments, p)
					}
					_, _ = to.Write(buf[:n])
				}
			}
			go relay(y, w, false)
			go relay(w, y, true)
			acc, dial := established(t, a, b, f.client, f.server)
			in, out := block(acc), block(dial)
			data := bytes.Repeat([]byte("0123456789abcdef"), 12_500) // 200 000 bytes
			go func() { _, _ = out.Write(data) }()
			got := make([]byte, len(data))
			for n := 0; n < len(got); {
				m, err := in.Read(got[n:])
				if err != nil {
					t.Fatal(err)
				}
				n += m
			}
			if !bytes.Equal(got, data) {
				t.Fatal("what arrived is not what was sent")
			}
			_ = y.Close()
			_ = w.Close()
			<-stop
			<-stop
			full := 0
			for i, p := range segments {
				// The engine leaves room for the largest SACK option (RFC 2018).
				if len(p.Raw) > 1500-40 && len(p.Raw) <= 1500 {
					full++
				}
				if i > 0 && p.Seq != segments[i-1].Seq+uint32(len(segments[i-1].Payload)) {
					t.Fatalf("segment %d begins at %d, the one before ended at %d", i, p.Seq, segments[i-1].Seq+uint32(len(segments[i-1].Payload)))
				}
			}
			if full < len(segments)*3/4 {
				t.Errorf("%d of %d packets fill the MTU", full, len(segments))
			}
			dial.Abort()
			acc.Abort()
		})
	}
}

// TestSupersedes keeps to the engine all that it counts: duplicates, windows, SACK
// blocks, marks, ends.
func TestSupersedes(t *testing.T) {
	stamp := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	prev := packet.TCPHeader{Seq: 100, Ack: 7, Window: 500, Flags: packet.ACK, Options: stamp}
	with := func(f func(*packet.TCPHeader)) packet.TCPHeader {
		h := prev
		h.Ack, h.Options = 9, bytes.Clone(stamp)
		f(&h)
		return h
	}
	none := func(*packet.TCPHeader) {}
	for _, tc := range []struct {
		name string
		next packet.TCPHeader
		data string
		want bool
	}{
		{"more", with(none), "", true},
		{"more with a new window and time", with(func(h *packet.TCPHeader) { h.Window, h.Options[7] = 9, 9 }), "", true},
		{"as much more as can be", with(func(h *packet.TCPHeader) { h.Ack = 7 + maxBuffer }), "", true},
		{"absurd", with(func(h *packet.TCPHeader) { h.Ack = 7 + maxBuffer + 1 }), "", false},
		{"without options", with(func(h *packet.TCPHeader) { h.Options = nil }), "", true},
		{"duplicate", with(func(h *packet.TCPHeader) { h.Ack = 7 }), "", false},
		{"window alone", with(func(h *packet.TCPHeader) { h.Ack, h.Window = 7, 501 }), "", false},
		{"older", with(func(h *packet.TCPHeader) { h.Ack = 6 }), "", false},
		{"SACK", with(func(h *packet.TCPHeader) {
			h.Options = append(h.Options, 1, 1, 5, 10, 0, 0, 0, 20, 0, 0, 0, 30)
		}), "", false},
		{"another option as long as a timestamp", with(func(h *packet.TCPHeader) {
			h.Options = []byte{1, 1, 5, 10, 0, 0, 0, 20, 0, 0, 0, 30}
		}), "", false},
		{"data", with(none), "x", false},
		{"FIN", with(func(h *packet.TCPHeader) { h.Flags |= packet.FIN }), "", false},
		{"RST", with(func(h *packet.TCPHeader) { h.Flags |= packet.RST }), "", false},
		{"congestion", with(func(h *packet.TCPHeader) { h.Flags |= packet.ECE }), "", false},
		{"other sequence number", with(func(h *packet.TCPHeader) { h.Seq++ }), "", false},
		{"other TTL", with(func(h *packet.TCPHeader) { h.TTL = 9 }), "", false},
		{"other port", with(func(h *packet.TCPHeader) {
			h.Src, h.Dst = netip.MustParseAddrPort("10.0.0.2:1001"), netip.MustParseAddrPort("10.0.0.1:80")
		}), "", false},
		{"other address", with(func(h *packet.TCPHeader) {
			h.Src, h.Dst = netip.MustParseAddrPort("10.0.0.3:1000"), netip.MustParseAddrPort("10.0.0.1:80")
		}), "", false},
	} {
		if got := Supersedes(decoded(t, prev, ""), decoded(t, tc.next, tc.data)); got != tc.want {
			t.Errorf("%s: Supersedes = %v", tc.name, got)
		}
	}
	if Supersedes(decoded(t, prev, "x"), decoded(t, with(none), "")) {
		t.Error("data was superseded")
	}
	sacked := prev
	sacked.Options = append(bytes.Clone(stamp), 1, 1, 5, 10, 0, 0, 0, 20, 0, 0, 0, 30)
	if Supersedes(decoded(t, sacked, ""), decoded(t, with(none), "")) {
		t.Error("a SACK block was superseded")
	}
}

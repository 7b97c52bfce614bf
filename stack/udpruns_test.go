package stack

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/udp"
)

// TestRunsBothWays: a run of datagrams behind one header becomes so many datagrams
// of the Socket, and equal replies leave as one such run, on a conn that is written
// in place and on one that has a queue; on one that takes no runs they leave one by
// one.
func TestRunsBothWays(t *testing.T) {
	const n, size = 20, 1200
	for name, cfg := range map[string]l3conn.SegmentPipeConfig{
		"direct":       {Direct: true},
		"queue":        {},
		"direct plain": {Direct: true, Features: l3conn.OffloadAll &^ l3conn.OffloadUDP},
		"queue plain":  {Features: l3conn.OffloadAll &^ l3conn.OffloadUDP},
	} {
		for _, ends := range [][2]string{
			{"10.0.0.2:5000", "192.0.2.1:7"}, {"[fd00::2]:5000", "[2001:db8::1]:7"},
		} {
			t.Run(name+" "+ends[0], func(t *testing.T) {
				client, server := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
				near, far := l3conn.SegmentPipe(&cfg)
				s := newStack(t, far, Config{})
				sockets := s.UDP().Sockets()
				runs := cfg.Features == 0
				read := l3conn.OffloadAll
				if !runs {
					read = cfg.Features
				}
				if err := near.EnableOffload(read); err != nil {
					t.Fatal(err)
				}

				// In: as one where the conn takes it.
				payload := make([]byte, n*size-size/2)
				for i := range payload {
					payload[i] = byte(i / size)
				}
				var want [][]byte
				for b := payload; len(b) > 0; b = b[min(size, len(b)):] {
					want = append(want, b[:min(size, len(b))])
				}
				if runs {
					var head [packet.MaxUDPHeaders]byte
					h, _ := packet.PutUDPHeaders(&head, client, server, 64, 0, 0, len(payload))
					seg := l3conn.Segment{Parts: [][]byte{head[:h], payload}, Kind: l3conn.SegmentUDP, PayloadSize: size}
					if err := seg.Describe(seg.Len()); err != nil {
						t.Fatal(err)
					}
					if _, err := near.WriteSegments([]l3conn.Segment{seg}); err != nil {
						t.Fatal(err)
					}
				} else {
					for _, b := range want {
						if _, err := near.Write(packet.AppendUDP(nil, client, server, 64, 0, b)); err != nil {
							t.Fatal(err)
						}
					}
				}
				sock := <-sockets
				msgs := make([]udp.Message, n)
				for i := range msgs {
					msgs[i].Buffer = make([]byte, 2000)
				}
				_ = sock.SetReadDeadline(time.Now().Add(10 * time.Second))
				for got := 0; got < n; {
					k, err := sock.ReadBatch(msgs[got:])
					if err != nil {
						t.Fatal(err)
					}
					got += k
				}
				for i := range msgs {
					m := &msgs[i]
					if m.Source != client || m.Destination != server || !bytes.Equal(m.Buffer[:m.N], want[i]) {
						t.Fatalf("datagram %d: %d bytes from %v to %v", i, m.N, m.Source, m.Destination)
					}
					m.Buffer = m.Buffer[:m.N]
					m.Source, m.Destination = m.Destination, m.Source
				}

				// Out.
				if k, err := sock.WriteBatch(msgs); k != n || err != nil {
					t.Fatal(k, err)
				}
				segs := []l3conn.Segment{{Parts: [][]byte{make([]byte, l3conn.MaxSegment)}}}
				var got [][]byte
				reads := 0
				for len(got) < n {
					if k, err := near.ReadSegments(segs); k != 1 || err != nil {
						t.Fatal(k, err)
					}
					reads++
					var c l3conn.Cutter
					one := segs[0]
					one.Parts = [][]byte{bytes.Clone(one.Parts[0][:one.Size])}
					if err := c.Reset(&one, one.Size); err != nil {
						t.Fatal(err)
					}
					for {
						b := make([]byte, 2000)
						k, err := c.Next(b)
						if err != nil {
							break
						}
						var p packet.Packet
						if cause := p.Decode(b[:k]); cause != drop.None || !p.ChecksumOK() || p.SrcAddrPort() != server || p.DstAddrPort() != client {
							t.Fatalf("packet %d: %v, %v, checksum %v", len(got), cause, p.SrcAddrPort(), p.ChecksumOK())
						}
						got = append(got, bytes.Clone(p.Payload))
					}
				}
				for i := range got {
					if !bytes.Equal(got[i], want[i]) {
						t.Fatalf("datagram %d came back with %d bytes", i, len(got[i]))
					}
				}
				if single := reads == 1; single != runs {
					t.Errorf("%d datagrams left in %d writes", n, reads)
				}
				if drops := s.Stats().Drops; len(drops) != 0 {
					t.Error(drops)
				}
			})
		}
	}
}

// TestDatagramRunDropped: a run for which the way out has no room is counted with
// all its datagrams.
func TestDatagramRunDropped(t *testing.T) {
	near, far := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Direct: true, Packets: 1})
	if err := near.EnableOffload(l3conn.OffloadAll); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, far, Config{})
	sockets := s.UDP().Sockets()
	client, server := netip.MustParseAddrPort("10.0.0.2:5000"), netip.MustParseAddrPort("192.0.2.1:7")
	if _, err := near.Write(packet.AppendUDP(nil, client, server, 64, 0, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	sock := <-sockets
	m := []udp.Message{{Buffer: make([]byte, 10*100), Segment: 100, Source: server}}
	for range 3 { // the pipe holds one
		if n, err := sock.WriteBatch(m); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := s.Stats().Drops[drop.ConnNoBuffers.String()]; got != 20 {
		t.Errorf("%d datagrams counted, want 20", got)
	}
	if i := sock.Info(); i.DroppedOut != 20 || i.DatagramsOut != 30 {
		t.Errorf("%+v", i)
	}
}

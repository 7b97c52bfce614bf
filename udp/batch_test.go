package udp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// segmentWire is a SegmentOutput that does what a conn with offload does, and keeps
// the packets in a wire.
type segmentWire struct {
	wire
	features l3conn.Features
	writes   int // segments and packets given to it
	largest  int // datagrams in one of them
}

func (w *segmentWire) DatagramOffload() l3conn.Features { return w.features }

func (w *segmentWire) WriteDatagramSegment(seg *l3conn.Segment) bool {
	if err := seg.Check(w.features, 1500); err != nil {
		panic(fmt.Sprintf("a segment that no conn takes: %v, %+v", err, seg))
	}
	var c l3conn.Cutter
	if err := c.Reset(seg, seg.Len()); err != nil {
		panic(err)
	}
	w.writes++
	b := make([]byte, 1<<16)
	for n := 0; ; n++ {
		size, err := c.Next(b)
		if err == io.EOF {
			w.largest = max(w.largest, n)
			return true
		}
		if err != nil {
			panic(err)
		}
		if !w.write(b[:size]) {
			return false
		}
	}
}

// offloads are the kinds of Output.
var offloads = []struct {
	name     string
	segments bool
	features l3conn.Features
}{
	{"packets", false, 0},
	{"parts", true, 0},
	{"checksum", true, l3conn.OffloadChecksum},
	{"runs", true, l3conn.OffloadChecksum | l3conn.OffloadUDP},
}

// offloadRig is a rig with such an Output. What has gone out is in the wire.
func offloadRig(t testing.TB, i int, cfg Config) (*rig, *wire, *segmentWire) {
	w := &segmentWire{features: offloads[i].features}
	r := newRig(t, cfg, func(e *Env) {
		e.Out = w
		if !offloads[i].segments {
			e.Out = &w.wire
		}
		e.Uint32 = func() uint32 { return 0 }
	})
	return r, &w.wire, w
}

func eachOffload(t *testing.T, f func(t *testing.T, i int)) {
	for i, o := range offloads {
		t.Run(o.name, func(t *testing.T) { f(t, i) })
	}
}

func rooms(n, size int) []Message {
	msgs := make([]Message, n)
	for i := range msgs {
		msgs[i].Buffer = make([]byte, size)
	}
	return msgs
}

func TestReadBatch(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{})
		s := r.opened(f.client, f.server)
		for i := range 9 {
			r.receive(f.client, f.far, fmt.Sprint("datagram ", i))
		}
		msgs := rooms(4, 10)
		msgs[0].Segment = 7
		if n, err := s.ReadBatch(nil); n != 0 || err != nil {
			t.Errorf("no room: %d, %v", n, err)
		}
		var got []string
		for _, want := range []int{4, 4, 2} {
			n, err := s.ReadBatch(msgs)
			if n != want || err != nil {
				t.Fatalf("read %d, %v, want %d", n, err, want)
			}
			for i := range msgs[:n] {
				m := &msgs[i]
				if m.Source != f.client || m.Segment != 0 {
					t.Errorf("from %v, segment %d", m.Source, m.Segment)
				}
				dst := f.far
				if len(got) == 0 {
					dst = f.server
				}
				if m.Destination != dst {
					t.Errorf("datagram %d: to %v, want %v", len(got), m.Destination, dst)
				}
				got = append(got, string(m.Buffer[:m.N]))
			}
		}
		if want := "[first datagram 0 datagram 1 datagram 2 datagram 3 datagram 4 datagram 5 datagram 6 datagram 7 datagram 8]"; fmt.Sprint(got) != want {
			t.Errorf("read %v", got)
		}
		r.receive(f.client, f.server, "longer than ten")
		if n, err := s.ReadBatch(msgs); n != 1 || err != nil || !msgs[0].Truncated() || msgs[0].Size != 15 || msgs[0].N != 10 {
			t.Errorf("%d, %v, %+v", n, err, msgs[0])
		}
		if q := r.Stats().QueuedBytes; q != 0 {
			t.Errorf("%d bytes still count", q)
		}
		s.report(syscall.ECONNREFUSED)
		if n, err := s.ReadBatch(msgs); n != 0 || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after an ICMP error: %d, %v", n, err)
		}
		s.Close()
		var op *net.OpError
		if n, err := s.ReadBatch(msgs); n != 0 || !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) {
			t.Errorf("after Close: %d, %v", n, err)
		}
		if n, err := s.WriteBatch(msgs); n != 0 || !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) {
			t.Errorf("write after Close: %d, %v", n, err)
		}
	})
}

// TestReadBatchWaits: for the first datagram, and not for more; and no longer than
// the deadline.
func TestReadBatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[0]
		r := newRig(t, Config{})
		s := r.opened(f.client, f.server)
		s.ReadBatch(rooms(1, 10))
		got := make(chan int)
		go func() {
			n, err := s.ReadBatch(rooms(5, 10))
			if err != nil {
				t.Error(err)
			}
			got <- n
		}()
		synctest.Wait()
		r.receive(f.client, f.server, "x")
		if n := <-got; n != 1 {
			t.Errorf("read %d", n)
		}
		s.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := s.ReadBatch(rooms(5, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// TestReadBatchWakesOthers: what one reader leaves another gets.
func TestReadBatchWakesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := families[0]
		r := newRig(t, Config{})
		s := r.opened(f.client, f.server)
		s.ReadBatch(rooms(1, 10))
		total := make(chan int)
		for range 3 {
			go func() {
				n, _ := s.ReadBatch(rooms(1, 10))
				total <- n
			}()
		}
		synctest.Wait()
		s.mu.Lock() // so that one wake-up stands for all three datagrams
		go func() {
			for range 3 {
				r.receive(f.client, f.server, "x")
			}
		}()
		s.mu.Unlock()
		for range 3 {
			if n := <-total; n != 1 {
				t.Errorf("read %d", n)
			}
		}
	})
}

// TestWriteBatch: whatever the conn can do, the packets are those that single calls
// send.
func TestWriteBatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	eachOffload(t, func(t *testing.T, i int) {
		eachFamily(t, func(t *testing.T, f family) {
			for _, df := range []bool{false, true} {
				single, want, _ := offloadRig(t, 0, Config{DontFragment: df})
				batch, got, w := offloadRig(t, i, Config{DontFragment: df})
				one, many := single.opened(f.client, f.server), batch.opened(f.client, f.server)
				for range 60 {
					msgs := randomMessages(random, f, df)
					for _, m := range msgs {
						for b := m.Buffer; ; {
							n := len(b)
							if m.Segment > 0 {
								n = min(n, m.Segment)
							}
							if _, err := one.WriteMsg(Msg{Payload: b[:n], Source: m.Source, Destination: m.Destination}); err != nil {
								t.Fatal(err)
							}
							if b = b[n:]; len(b) == 0 {
								break
							}
						}
					}
					if n, err := many.WriteBatch(msgs); n != len(msgs) || err != nil {
						t.Fatalf("wrote %d of %d, %v", n, len(msgs), err)
					}
					compare(t, got.take(), want.take())
				}
				a, b := one.Info(), many.Info()
				if a.Out != b.Out || a.DatagramsOut != b.DatagramsOut || b.DroppedOut != 0 {
					t.Errorf("counted %d bytes, %d datagrams, %d lost; want %d, %d, 0",
						b.Out, b.DatagramsOut, b.DroppedOut, a.Out, a.DatagramsOut)
				}
				if runs := offloads[i].features.Has(l3conn.OffloadUDP); runs != (w.largest == maxRun) {
					t.Errorf("at most %d datagrams in a write", w.largest)
				}
			}
		})
	})
}

// randomMessages returns messages of which many could leave in runs.
func randomMessages(random *rand.Rand, f family, df bool) []Message {
	msgs := make([]Message, 1+random.IntN(100))
	for i := range msgs {
		m := &msgs[i]
		if i > 0 && msgs[i-1].Segment == 0 && random.IntN(10) > 0 {
			*m = msgs[i-1]
		} else {
			sizes := []int{1, 2, 500, 1200, 1400}
			if !df {
				sizes = append(sizes, 0, 3000)
			}
			m.Buffer = make([]byte, sizes[random.IntN(len(sizes))])
			m.Source = []netip.AddrPort{f.server, f.server2, f.far}[random.IntN(3)]
			if random.IntN(2) == 0 {
				m.Destination = f.client
			}
		}
		m.Buffer = bytes.Clone(m.Buffer)
		for j := range m.Buffer {
			m.Buffer[j] = byte(random.Uint32())
		}
		if random.IntN(30) == 0 && len(m.Buffer) > 0 {
			m.Segment = len(m.Buffer)
			m.Buffer = bytes.Repeat(m.Buffer, 1+random.IntN(min(70, 60000/len(m.Buffer))))
			m.Buffer = m.Buffer[:len(m.Buffer)-random.IntN(m.Segment)]
		}
	}
	return msgs
}

// compare compares packets, but for the identification of IPv4, which a conn counts
// up in a run.
func compare(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range got {
		var p packet.Packet
		if c := p.Decode(got[i]); c != drop.None || !p.ChecksumOK() {
			t.Fatalf("packet %d: %v, checksum %v", i, c, p.ChecksumOK())
		}
		for _, b := range [][]byte{got[i], want[i]} {
			if b[0]>>4 == 4 {
				b[4], b[5], b[10], b[11] = 0, 0, 0, 0
			}
		}
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d of %d:\n% x, want\n% x", i, len(got), got[i][:48], want[i][:48])
		}
	}
}

// TestWriteBatchStops at the message that is refused, and says which and why.
func TestWriteBatchStops(t *testing.T) {
	eachOffload(t, func(t *testing.T, i int) {
		f := families[0]
		r, w, _ := offloadRig(t, i, Config{Filtering: AddressDependent, DontFragment: true})
		s := r.opened(f.client, f.server)
		good := func(n int) Message { return Message{Buffer: make([]byte, n), Source: f.server} }
		for name, tc := range map[string]struct {
			bad  Message
			want error
		}{
			"filtered":      {Message{Source: f.far}, syscall.EACCES},
			"no source":     {Message{}, syscall.EDESTADDRREQ},
			"family":        {Message{Source: families[1].server}, syscall.EAFNOSUPPORT},
			"not the peer":  {Message{Source: f.server, Destination: f.other}, syscall.EACCES},
			"too large":     {good(1473), syscall.EMSGSIZE},
			"too large run": {Message{Buffer: make([]byte, 3000), Segment: 1473, Source: f.server}, syscall.EMSGSIZE},
		} {
			n, err := s.WriteBatch([]Message{good(100), good(100), tc.bad, good(100)})
			if n != 2 || !errors.Is(err, tc.want) {
				t.Errorf("%s: %d, %v, want 2, %v", name, n, err, tc.want)
			}
			if got := len(w.take()); got != 2 {
				t.Errorf("%s: %d packets", name, got)
			}
		}
	})
}

// TestWriteBatchFull: what the way out does not take is no error, and counted.
func TestWriteBatchFull(t *testing.T) {
	eachOffload(t, func(t *testing.T, i int) {
		f := families[0]
		r, w, _ := offloadRig(t, i, Config{})
		s := r.opened(f.client, f.server)
		w.full = true
		msgs := make([]Message, 5)
		for i := range msgs {
			msgs[i] = Message{Buffer: make([]byte, 100), Source: f.server}
		}
		msgs[4] = Message{Buffer: make([]byte, 300), Segment: 100, Source: f.server}
		if n, err := s.WriteBatch(msgs); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if got := s.Info(); got.DroppedOut != 7 || got.DatagramsOut != 7 {
			t.Errorf("%+v", got)
		}
	})
}

package stack

import (
	"net/netip"
	"testing"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// handClock is a Clock that the test moves.
type handClock struct {
	now    time.Time
	timers []func()
}

func (c *handClock) Now() time.Time { return c.now }

func (c *handClock) AfterFunc(_ time.Duration, f func()) Timer {
	c.timers = append(c.timers, f)
	return nil
}

// TestReassemblyBudget: a share is taken with the first fragment and given back
// a minute after the last.
func TestReassemblyBudget(t *testing.T) {
	x, _ := l3conn.Pipe(0, 0)
	s, err := New(x, &Config{MemoryLimit: 6 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	clock := &handClock{now: time.Unix(1000, 0)}
	s.cfg.Clock = clock
	held := func() int64 { return s.budget.Snapshot().Reassembly }
	if !s.fragments.reserve(0) || held() != reassemblySize {
		t.Fatalf("first fragment: %d held", held())
	}
	if s.fragments.reserve(1) {
		t.Fatal("a second share beyond the limit was granted")
	}
	clock.now = clock.now.Add(40 * time.Second)
	if !s.fragments.reserve(0) || held() != reassemblySize {
		t.Fatalf("later fragment: %d held", held())
	}
	clock.now = clock.now.Add(20 * time.Second)
	clock.timers[0]()
	if held() != reassemblySize || len(clock.timers) != 2 {
		t.Fatalf("a fragment is 20 s old: %d held, %d timers", held(), len(clock.timers))
	}
	clock.now = clock.now.Add(40 * time.Second)
	clock.timers[1]()
	if held() != 0 {
		t.Fatalf("the last fragment is 60 s old: %d held", held())
	}
}

// TestReassemblyEnds: the end of the Stack gives the shares back, and no fragment
// takes one afterwards.
func TestReassemblyEnds(t *testing.T) {
	x, _ := l3conn.Pipe(0, 0)
	s, err := New(x, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !s.fragments.reserve(0) || !s.fragments.reserve(1) {
		t.Fatal("fragments refused")
	}
	_ = s.Close()
	if n := s.budget.Snapshot().Reassembly; n != 0 || s.fragments.reserve(0) {
		t.Fatalf("%d bytes held after the end", n)
	}
}

// TestFragmentedPing: fragments go through the engine's reassembly and come back
// to what serves them, and without memory for that they are counted.
func TestFragmentedPing(t *testing.T) {
	for _, limit := range []int64{0, 1 << 20} {
		for _, ends := range [][2]string{{"10.0.0.2", "10.0.0.1"}, {"fd00::2", "fd00::1"}} {
			x, y := l3conn.Pipe(0, 4000)
			s := newStack(t, x, Config{Addrs: serverAddrs, MTU: 4000, MemoryLimit: limit})
			from, to := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
			payload := make([]byte, 3000)
			for i := range payload {
				payload[i] = byte(i)
			}
			whole := echoRequest(from, to, payload)
			if from.Is4() {
				whole[6], whole[7] = 0, 0
			}
			count := 0
			if err := packet.Fragment(whole, 1300, 77, func(frag []byte) {
				count++
				if _, err := y.Write(frag); err != nil {
					t.Fatal(err)
				}
			}); err != nil || count < 3 {
				t.Fatalf("%d fragments, %v", count, err)
			}
			if limit != 0 {
				for ctx := soon(t); s.drops.Load(drop.FragmentMemory) < uint64(count); {
					if ctx.Err() != nil {
						t.Fatalf("counted %v", s.Stats().Drops)
					}
				}
				continue
			}
			b := make([]byte, 4000)
			n, err := y.Read(b)
			var p packet.Packet
			if err != nil || p.Decode(b[:n]) != drop.None || !p.ChecksumOK() || string(p.Payload) != string(payload) {
				t.Fatalf("answer: %d bytes, %v", n, err)
			}
		}
	}
}

// TestFragmentsRefused: fragments that overlap never make a packet, and are counted
// (RFC 5722).
func TestFragmentsRefused(t *testing.T) {
	for _, ends := range [][2]string{{"10.0.0.2", "10.0.0.1"}, {"fd00::2", "fd00::1"}} {
		x, y := l3conn.Pipe(0, 4000)
		s := newStack(t, x, Config{Addrs: serverAddrs, MTU: 4000})
		whole := echoRequest(netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1]), make([]byte, 3000))
		if whole[0]>>4 == 4 {
			whole[6], whole[7] = 0, 0
		}
		var all [2][][]byte // the same packet, cut in two ways
		for i, mtu := range []int{1300, 1400} {
			if err := packet.Fragment(whole, mtu, 77, func(frag []byte) {
				all[i] = append(all[i], append([]byte(nil), frag...))
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, frag := range [][]byte{all[0][0], all[1][1], all[0][1]} {
			if _, err := y.Write(frag); err != nil {
				t.Fatal(err)
			}
		}
		for ctx := soon(t); s.Stats().Drops["fragment_refused"] == 0; {
			if ctx.Err() != nil {
				t.Fatalf("not counted: %v", s.Stats().Drops)
			}
		}
	}
}

package udp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

func TestTruncation(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{Mapping: PerFlow})
		for range 3 {
			r.receive(f.client, f.server, "0123456789")
		}
		s := r.accept()
		b := make([]byte, 4)
		n, addr, err := s.ReadFrom(b)
		var cut *TruncatedError
		if n != 4 || string(b) != "0123" || !errors.As(err, &cut) || cut.Size != 10 {
			t.Errorf("ReadFrom = %d, %q, %v", n, b, err)
		}
		var op *net.OpError
		if !errors.Is(err, syscall.EMSGSIZE) || !errors.Is(err, io.ErrShortBuffer) || !errors.As(err, &op) || op.Timeout() {
			t.Errorf("error %v matches not what it should", err)
		}
		wantAddr(t, "ReadFrom's addr", addr, f.client)
		m, err := s.ReadMsg(b)
		if err != nil || string(m.Payload) != "0123" || m.Size != 10 || !m.Truncated() {
			t.Errorf("ReadMsg = %+v, %v", m, err)
		}
		c, _ := s.Conn()
		if n, err := c.Read(b); n != 4 || !errors.As(err, &cut) {
			t.Errorf("Read = %d, %v", n, err)
		}
		// The rest of a cut datagram is gone, and an empty one is not cut.
		r.receive(f.client, f.server, "")
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("Read of an empty datagram = %d, %v", n, err)
		}
	})
}

// Datagrams of every buffer size and their borders go through whole both ways.
func TestSizes(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{}, func(e *Env) { e.MTU = 65575 })
		most := 65507
		if f.name == "v6" {
			most = 65527
		}
		s := r.opened(f.client, f.server)
		b := make([]byte, 1<<16)
		if _, err := s.ReadMsg(b); err != nil {
			t.Fatal(err)
		}
		if got := s.MaxPayload(); got != most {
			t.Errorf("MaxPayload = %d, want %d", got, most)
		}
		for _, size := range []int{0, 1, 511, 512, 513, 2048, 2049, 16384, 16385, most - 1, most} {
			payload := strings.Repeat("z", size)
			r.receive(f.client, f.server, payload)
			m, err := s.ReadMsg(b)
			if err != nil || string(m.Payload) != payload {
				t.Fatalf("%d bytes: read %d, %v", size, len(m.Payload), err)
			}
			if _, err := s.WriteMsg(m.Reply(m.Payload)); err != nil {
				t.Fatal(err)
			}
			r.wantSent(f.server, f.client, payload)
		}
		_, err := s.WriteToUDPAddrPort(make([]byte, most+1), f.server)
		if !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("one byte too many: %v", err)
		}
		r.wantDrops(drop.UDPTooLarge, 1)
	})
}

// What exceeds the MTU leaves in fragments, all of one packet, none too large.
func TestFragments(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{}, func(e *Env) { e.MTU = 1400 })
		s := r.opened(f.client, f.server)
		const size = 5000
		if n, err := s.WriteToUDPAddrPort(make([]byte, size), f.server); n != size || err != nil {
			t.Fatalf("write = %d, %v", n, err)
		}
		total, ids := 0, map[uint32]bool{}
		pkts := r.out.take()
		for i, b := range pkts {
			var p packet.Packet
			if c := p.Decode(b); c != drop.None {
				t.Fatal(c)
			}
			if len(b) > 1400 || !p.Fragment || p.FragOffset != total || p.MoreFragments != (i < len(pkts)-1) {
				t.Errorf("fragment %d: %d bytes at %d, more %v", i, len(b), p.FragOffset, p.MoreFragments)
			}
			total += len(p.L4)
			ids[p.FragID] = true
		}
		if total != size+8 || len(ids) != 1 {
			t.Errorf("%d bytes in fragments with %d IDs", total, len(ids))
		}
	})
}

func TestDontFragment(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{DontFragment: true, HopLimit: 9, TrafficClass: 0xb8}, func(e *Env) { e.MTU = 1400 })
		s := r.opened(f.client, f.server)
		most := 1400 - 28
		if f.name == "v6" {
			most = 1400 - 48
		}
		if got := s.MaxPayload(); got != most {
			t.Errorf("MaxPayload = %d, want %d", got, most)
		}
		if _, err := s.WriteToUDPAddrPort(make([]byte, most+1), f.server); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("too large: %v", err)
		}
		if _, err := s.WriteToUDPAddrPort(make([]byte, most), f.server); err != nil {
			t.Fatal(err)
		}
		p := r.sent()
		if f.name == "v4" && p.Raw[6]&0x40 == 0 {
			t.Error("sent without DF")
		}
		if p.TTL != 9 || p.TOS != 0xb8 || len(p.Raw) != 1400 {
			t.Errorf("TTL %d, TOS %#x, %d bytes", p.TTL, p.TOS, len(p.Raw))
		}
	})
}

// Sent = read + counted, exactly, for each limit and with readers at work.
func TestOverflowIsExact(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cfg     Config
		payload int
		cause   drop.Cause
		keeps   int
	}{
		{"datagrams", Config{QueueDatagrams: 10}, 1, drop.UDPQueueFull, 10},
		{"bytes", Config{QueueBytes: 10 * 2048}, 1200, drop.UDPQueueFull, 10},
		{"total", Config{TotalQueueBytes: 10 * 2048}, 1200, drop.UDPMemory, 10},
		{"one at least", Config{QueueBytes: 1}, 9000, drop.UDPQueueFull, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, f family) {
				r := newRig(t, tc.cfg)
				const sent = 1000
				payload := strings.Repeat("p", tc.payload)
				for range sent {
					r.receive(f.client, f.server, payload)
				}
				s := r.accept()
				if got := s.Info().Queued; got != tc.keeps {
					t.Errorf("%d wait, want %d", got, tc.keeps)
				}
				r.wantDrops(tc.cause, uint64(sent-tc.keeps))

				// Now with readers, and a close in the middle of it.
				var wg sync.WaitGroup
				var mu sync.Mutex
				read := 0
				for range 2 {
					wg.Go(func() {
						b := make([]byte, tc.payload)
						for {
							if _, err := s.ReadMsg(b); err != nil {
								return
							}
							mu.Lock()
							read++
							mu.Unlock()
						}
					})
				}
				for range sent {
					r.receive(f.client, f.server, payload)
				}
				s.Close()
				wg.Wait()
				i := s.Info()
				counted := r.drops.Load(tc.cause) + r.drops.Load(drop.UDPClosed)
				if uint64(read)+counted != 2*sent || uint64(read)+i.DroppedIn != 2*sent {
					t.Errorf("%d read + %d counted, %d by the Socket, of %d", read, counted, i.DroppedIn, 2*sent)
				}
			})
		})
	}
}

// The budget of the stack bounds the queues, and every byte goes back.
func TestBudget(t *testing.T) {
	f := families[0]
	b := budget.New(3*512 + budget.SocketCost)
	r := newRig(t, Config{}, func(e *Env) { e.Budget = b })
	for i := range 5 {
		r.receive(f.client, f.server, fmt.Sprint(i))
	}
	if got := b.Snapshot().Datagram; got != 3*512 {
		t.Errorf("%d bytes taken", got)
	}
	r.wantDrops(drop.UDPMemory, 2)
	// No memory for a first datagram: no Socket.
	r.receive(f.other, f.server, "x")
	if got := r.Stats().Sockets; got != 1 {
		t.Errorf("%d Sockets", got)
	}
	r.wantDrops(drop.UDPMemory, 3)
	s := r.accept()
	if _, err := s.ReadMsg(nil); err != nil {
		t.Fatal(err)
	}
	if got := b.Snapshot().Datagram; got != 2*512 {
		t.Errorf("%d bytes taken after a read", got)
	}
	s.Close()
	if got := b.Snapshot().Datagram; got != 0 {
		t.Errorf("%d bytes taken after Close", got)
	}
}

func TestSetReadBuffer(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	s := r.opened(f.client, f.server)
	if err := s.SetReadBuffer(2 * 512); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.receive(f.client, f.server, "x")
	}
	r.wantDrops(drop.UDPQueueFull, 2)
	if err := s.SetReadBuffer(0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("SetReadBuffer(0) = %v", err)
	}
	s.Close()
	if err := s.SetReadBuffer(512); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetReadBuffer after Close = %v", err)
	}
}

// A way out that is full loses datagrams, which are counted, and blocks nobody.
func TestWayOutFull(t *testing.T) {
	f := families[0]
	r := newRig(t, Config{})
	s := r.opened(f.client, f.server)
	r.out.full = true
	for _, size := range []int{10, 4000} {
		if n, err := s.WriteToUDPAddrPort(make([]byte, size), f.server); n != size || err != nil {
			t.Errorf("write = %d, %v", n, err)
		}
	}
	if i := s.Info(); i.DroppedOut != 2 || i.DatagramsOut != 2 {
		t.Errorf("Info = %+v", i)
	}
}

// An IPv4 datagram that may be fragmented on its way carries a number.
func TestIdentification(t *testing.T) {
	b := datagramPacket(families[0].server, families[0].client, "x")
	for _, id := range []uint16{0, 1, 0x1234, 0xffff} {
		c := append([]byte(nil), b...)
		identify(c, id)
		var p packet.Packet
		if cause := p.Decode(c); cause != drop.None || !p.ChecksumOK() || p.FragID != uint32(id) {
			t.Errorf("%#x: %v, checksum %v, ID %#x", id, cause, p.ChecksumOK(), p.FragID)
		}
	}
	six := datagramPacket(families[1].server, families[1].client, "x")
	before := string(six)
	identify(six, 7)
	if string(six) != before {
		t.Error("changed an IPv6 packet")
	}
}

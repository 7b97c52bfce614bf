package udp

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
)

// TestFiltering proves each mapping with each filtering: a client behind a NAT
// that has sent to one server, and who may send back.
func TestFiltering(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		type try struct {
			far netip.AddrPort
			ok  [3]bool // EndpointIndependent, AddressDependent, AddressAndPortDependent
		}
		always, onlyAny := [3]bool{true, true, true}, [3]bool{true, false, false}
		for mapping, tries := range map[Mapping][]try{
			PerSource: { // far: as whom the application speaks to the client
				{f.server, always},
				{f.server2, [3]bool{true, true, false}},
				{f.far, onlyAny},
			},
			PerFlow: { // far: the client, who is the only one
				{f.client, always},
			},
			PerDestination: { // far: the client spoken to
				{f.client, always},
				{f.other, onlyAny},
				{f.stranger, onlyAny},
			},
		} {
			for mode := EndpointIndependent; mode <= AddressAndPortDependent; mode++ {
				t.Run(mapping.String()+"/"+mode.String(), func(t *testing.T) {
					r := newRig(t, Config{Mapping: mapping, Filtering: mode})
					s := r.opened(f.client, f.server)
					denied := uint64(0)
					for _, try := range tries {
						_, err := s.WriteToUDPAddrPort([]byte("x"), try.far)
						if (err == nil) != try.ok[mode] || err != nil && !errors.Is(err, syscall.EACCES) {
							t.Errorf("from or to %v: %v, want ok %v", try.far, err, try.ok[mode])
						}
						if err != nil {
							denied++
						}
					}
					r.wantDrops(drop.UDPFiltered, denied)
					if got := s.Info().DroppedOut; got != denied {
						t.Errorf("DroppedOut = %d, want %d", got, denied)
					}
					if mapping == PerFlow {
						return
					}
					// What the client sends opens the filter, even if nobody reads it.
					last := tries[len(tries)-1].far
					if mapping == PerSource {
						r.receive(f.client, last, "hello")
					} else {
						r.receive(last, f.server, "hello")
					}
					if _, err := s.WriteToUDPAddrPort([]byte("x"), last); err != nil {
						t.Errorf("after the client sent to %v: %v", last, err)
					}
				})
			}
		}
	})
}

// A filter forgets the oldest addresses, never the newest thousand.
func TestFilterIsBounded(t *testing.T) {
	f := filter{mode: AddressAndPortDependent}
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 1)
	}
	const n = 5 * filterGeneration
	for i := range n {
		f.allow(at(i))
		f.allow(at(i))
		if len(f.cur)+len(f.older) > 2*filterGeneration {
			t.Fatalf("%d + %d addresses", len(f.cur), len(f.older))
		}
	}
	for i := n - filterGeneration; i < n; i++ {
		if !f.allows(at(i)) {
			t.Fatalf("forgot address %d of %d", i, n)
		}
	}
	if f.allows(at(0)) {
		t.Error("remembers the first of all")
	}
}

// TestFilterMemory: what filters remember counts for the memory of the stack, and a
// datagram that would open a filter is dropped when there is none left. The rig checks
// that all is given back.
func TestFilterMemory(t *testing.T) {
	const limit = 64 << 10
	b := budget.New(limit)
	r := newRig(t, Config{Filtering: AddressAndPortDependent}, func(e *Env) { e.Budget = b })
	f := families[0]
	s := r.opened(f.client, f.server)
	buf := make([]byte, 9)
	n := 1
	for ; r.drops.Load(drop.UDPMemory) == 0 && n < limit; n++ {
		if _, err := s.ReadMsg(buf); err != nil {
			t.Fatal(err)
		}
		r.receive(f.client, netip.AddrPortFrom(f.far.Addr(), uint16(n)), "x")
	}
	if n < limit/filterCost/2 || n > limit/filterCost {
		t.Errorf("%d addresses in %d bytes", n, limit)
	}
	r.receive(f.client, f.server, "x") // remembered already
	if m, err := s.ReadMsg(buf); err != nil || m.Destination != f.server {
		t.Errorf("%+v, %v", m, err)
	}
	r.receive(f.stranger, f.server, "x") // no room for its filter
	r.wantDrops(drop.UDPMemory, 2)
	s.Close()
	if used := b.Snapshot().Used; used != 0 {
		t.Errorf("%d bytes are held after Close", used)
	}
	r.opened(f.stranger, f.server)

	// Of one Socket, two generations at most.
	b = budget.New(0)
	g := filter{mode: AddressAndPortDependent, budget: b}
	for i := range 5 * filterGeneration {
		g.allow(netip.AddrPortFrom(f.far.Addr(), uint16(i)))
		if used := b.Snapshot().Used; used != int64(len(g.cur)+len(g.older))*filterCost {
			t.Fatalf("%d bytes for %d + %d addresses", used, len(g.cur), len(g.older))
		}
	}
	g.free()
	if used := b.Snapshot().Used; used != 0 {
		t.Errorf("%d bytes are held", used)
	}
}

package netstack

import (
	"net/netip"
	"testing"

	"l3extract/internal/budget"
)

// flowAt is a flow that began at iss, was given sent bytes and had ack
// acknowledged.
func flowAt(iss uint32, sent uint64, acks ...uint32) *flowSeq {
	f := &flowSeq{held: held{budget: budget.New(0)}}
	f.started(iss)
	f.out.Add(sent)
	for _, a := range acks {
		f.acked(a)
	}
	return f
}

func TestFlowSeqInFlight(t *testing.T) {
	const wrap = ^uint32(0) - 10
	for _, tc := range []struct {
		name string
		f    *flowSeq
		seq  uint32
		want bool
	}{
		{"the SYN", flowAt(100, 0), 100, true},
		{"behind a SYN alone", flowAt(100, 0), 102, false},
		{"before the SYN", flowAt(100, 0), 99, false},
		{"acknowledged", flowAt(100, 1000, 101, 601), 600, false},
		{"oldest in flight", flowAt(100, 1000, 101, 601), 601, true},
		{"last byte", flowAt(100, 1000, 101, 601), 1100, true},
		{"the FIN", flowAt(100, 1000, 101, 601), 1101, true},
		{"never sent", flowAt(100, 1000, 101, 601), 1102, false},
		{"half the space away", flowAt(100, 1000, 101), 101 + 1<<31, false},
		{"wrapped", flowAt(wrap, 1000, wrap+1), 900, true},
		{"wrapped, acknowledged", flowAt(wrap, 1000, wrap+1, 500), wrap + 5, false},
		{"wrapped, never sent", flowAt(wrap, 1000, wrap+1), 1002, false},
		{"old acknowledgement changes nothing", flowAt(100, 1000, 601, 301), 400, false},
		{"absurd acknowledgement changes nothing", flowAt(100, 1000, 101, 101+maxBuffer+2), 101, true},
		{"all acknowledged", flowAt(100, 1000, 1101), 1100, false},
		{"more than 4 GiB sent", flowAt(100, 1<<32+1000, 101, 1001), 1100, true},
	} {
		if got := tc.f.sent(tc.seq); got != tc.want {
			t.Errorf("%s: sent(%d) = %v", tc.name, tc.seq, got)
		}
	}
	if n := flowAt(100, 1000, 101, 601).unacked(); n != 500 {
		t.Errorf("unacked = %d, want 500", n)
	}
	if n := flowAt(100, 10, 112).unacked(); n != 0 { // the FIN was acknowledged, too
		t.Errorf("unacked = %d, want 0", n)
	}
}

// TestFlowTable: a new connection of the same name has an entry of its own, and
// what becomes of the old one's endpoint does not touch it.
func TestFlowTable(t *testing.T) {
	id := tuple{netip.MustParseAddrPort("198.51.100.7:80"), netip.MustParseAddrPort("10.0.0.2:1000")}
	table := newFlowTable(budget.New(0))
	if table.get(id) != nil {
		t.Fatal("an entry before the first SYN")
	}
	table.remove(id, nil)
	old := table.start(id, 100, 1)
	old.out.Add(5000)
	if table.start(id, 100, 1) != old || table.len() != 1 {
		t.Fatal("a repeated SYN begins anew")
	}
	young := table.start(id, 70000, 1)
	if young == old || young.unacked() != 1 || old.unacked() != 5001 {
		t.Fatalf("the new connection has %d in flight, the old one %d", young.unacked(), old.unacked())
	}
	table.remove(id, old)
	if table.get(id) != young {
		t.Fatal("the end of the old connection took the entry of the new one")
	}
	table.remove(id, young)
	if table.len() != 0 {
		t.Fatal("entries left")
	}
}

func TestFlowShards(t *testing.T) {
	table := newFlowTable(budget.New(0))
	var used [flowShards]int
	dst := netip.MustParseAddr("198.51.100.7")
	for port := range uint16(1024) {
		used[table.shard(tuple{netip.AddrPortFrom(dst, 443), netip.AddrPortFrom(dst, 32768+port)})]++
	}
	for i, n := range used {
		if n < 1024/flowShards/4 {
			t.Errorf("shard %d has %d of 1024 flows", i, n)
		}
	}
}

package tcp

import (
	"testing"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
)

// BenchmarkSYN takes SYNs in and rejects them: the cost of a scanner.
func BenchmarkSYN(b *testing.B) {
	cfg, _ := (&Config{LazyHandshake: true}).Resolved()
	env := &Env{
		Flows: flow.NewRegistry(flow.Trace{}), Budget: budget.New(0), Drops: new(drop.Counters), Out: discard{},
		Clock: wallClock{}, MTU: 1500,
	}
	t := NewTable(TableConfig{Env: env, Config: &cfg})
	defer t.Close(flow.Shutdown)
	a := t.Acceptor()
	a.asked.Store(true)
	p := syn(clientA, server, 1)
	b.ReportAllocs()
	for b.Loop() {
		p.Seq++ // a new attempt
		t.HandleSYN(p)
		s, err := a.AcceptStream(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Reject(nil)
	}
}

// discard is a link.Output that throws away.
type discard struct{}

func (discard) WriteControl([]byte) bool  { return true }
func (discard) WriteDatagram([]byte) bool { return true }

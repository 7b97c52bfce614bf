package stack

import (
	"iter"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/tcp"
	"l3extract/udp"
)

// Stats is the account of a Stack at one moment. Counters only grow.
type Stats struct {
	// Packets and bytes, with IP headers, read from and written to the conn.
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64

	// Drops counts what was dropped or refused by its cause; causes that never
	// happened are missing. The names are stable.
	Drops map[string]uint64

	Flows int // streams and sockets that live

	TCP      tcp.TableStats   // handshakes, places, limits
	Closing  tcp.CloserStats  // streams closed and not yet acknowledged
	Flushers tcp.FlusherStats // the write buffers
	UDP      udp.Stats

	// Memory is what is held, in bytes, and what became of flows for it.
	Memory budget.Usage

	// Workers is the number of goroutines that the engines keep for incoming TCP
	// segments: Config.Shards times GOMAXPROCS; 0 before Run.
	Workers int

	// Abandoned is the number of goroutines left in a call of a conn that has
	// neither deadlines nor Close, after the Stack's end.
	Abandoned int
}

// Stats returns the account as of now.
func (s *Stack) Stats() Stats {
	st := Stats{
		Drops:    s.drops.Snapshot(),
		Flows:    s.flows.Len(),
		TCP:      s.tcp.table.Stats(),
		Closing:  s.tcp.env.Closer.Stats(),
		Flushers: s.tcp.env.Flushers.Stats(),
		UDP:      s.udp.table.Stats(),
		Memory:   s.budget.Snapshot(),
	}
	if engine := s.engine.Load(); engine != nil { // what the engine drops, it counts itself
		st.Workers = engine.Workers()
		for cause, n := range map[drop.Cause]uint64{
			drop.TransportUndelivered: engine.Undelivered(),
			drop.SegmentMemory:        engine.NoMemory(),
			drop.FragmentRefused:      engine.FragmentsRefused(),
			drop.FragmentTimeout:      engine.ReassembliesLate(),
		} {
			if n > 0 {
				st.Drops[cause.String()] += n
			}
		}
	}
	st.PacketsIn, st.BytesIn, st.PacketsOut, st.BytesOut = s.link.Counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, done := range s.abandoned {
		select {
		case <-done:
		default:
			st.Abandoned++
		}
	}
	return st
}

// Flows iterates over the flows that live, in no order. No lock is held during a
// step: a flow may have ended by the time it is seen.
func (s *Stack) Flows() iter.Seq[Flow] {
	return func(yield func(Flow) bool) {
		for f := range s.flows.All() {
			if !yield(f.FlowInfo()) {
				return
			}
		}
	}
}

// Kill resets the flow with this ID, which then ends with cause (nil: Killed). It
// reports whether there was such a flow.
func (s *Stack) Kill(id FlowID, cause error) bool {
	f, ok := s.flows.Get(id)
	if !ok {
		return false
	}
	if cause == nil {
		cause = Killed
	}
	f.Kill(cause)
	return true
}

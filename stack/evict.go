package stack

import (
	"cmp"
	stdheap "container/heap"
	"context"
	"net/netip"
	"slices"
	"time"

	"l3extract/internal/budget"
	"l3extract/internal/flow"
	"l3extract/internal/link"
)

// At the memory limit somebody has to give way: those who hold most and have moved
// least, of the source that holds most. One goroutine looks at all flows then, and ends
// as many as leave a tenth of the limit free.

// evictAgain is how long it waits when it could free nothing.
const evictAgain = 100 * time.Millisecond

// evictSpan is what a flow counts for as idle at least: what is held for less is
// traffic, and only its size matters.
const evictSpan = 100 * time.Millisecond

// evict ends flows each time that the limit is reached, until ctx ends.
func (s *Stack) evict(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.budget.Full():
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(time.Hour)
		excess := s.budget.Excess()
		if excess == 0 {
			continue // what was refused then may be had now
		}
		n, freed := s.evictFattest(excess)
		if n > 0 {
			s.cfg.Logger.Info("memory limit: flows were ended", "flows", n, "bytes", freed, "limit", s.cfg.MemoryLimit)
		}
		if s.budget.Excess() > 0 {
			timer.Reset(evictAgain) // without a note: nobody may come to ask
		}
	}
}

// evictOwn is how much less a flow counts by itself than what is stuck in it: to be idle
// is no fault.
const evictOwn = 64

// holding is what a flow holds.
type holding struct {
	flow.Holder
	bytes int64
	score float64 // of who is to be ended first: bytes, times how long they have not moved
}

// hoarder is a source with what it holds.
type hoarder struct {
	bytes  int64
	flows  []holding // once sorted, those to be ended first stand last
	sorted bool
}

// hoarders are a heap whose first holds most.
type hoarders []*hoarder

func (h hoarders) Len() int           { return len(h) }
func (h hoarders) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h hoarders) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *hoarders) Push(x any)        { *h = append(*h, x.(*hoarder)) }

// Pop implements heap.Interface.
func (h *hoarders) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// evictFattest ends flows that hold so many bytes, and returns how many there were.
func (s *Stack) evictFattest(excess int64) (n int, freed int64) {
	h := s.hoarders(nanotime())
	stdheap.Init(&h)
	for freed < excess && len(h) > 0 {
		fattest := h[0]
		if !fattest.sorted {
			slices.SortFunc(fattest.flows, func(a, b holding) int { return cmp.Compare(a.score, b.score) })
			fattest.sorted = true
		}
		last := len(fattest.flows) - 1
		victim := fattest.flows[last]
		fattest.flows = fattest.flows[:last]
		if fattest.bytes -= victim.bytes; last == 0 {
			stdheap.Pop(&h)
		} else {
			stdheap.Fix(&h, 0)
		}
		victim.Kill(flow.Memory)
		s.budget.Evict(victim.bytes)
		n++
		freed += victim.bytes
	}
	return n, freed
}

// hoarders returns what each source holds.
func (s *Stack) hoarders(now int64) hoarders {
	bySource := make(map[netip.Prefix]*hoarder)
	var all hoarders
	for f := range s.flows.All() {
		holder, ok := f.(flow.Holder)
		if !ok {
			continue
		}
		held := holder.Held()
		bytes := held.Own + held.Data
		if bytes == 0 {
			continue
		}
		key := s.cfg.SourceKey(held.Source)
		of := bySource[key]
		if of == nil {
			of = new(hoarder)
			bySource[key] = of
			all = append(all, of)
		}
		idle := max(time.Duration(now-held.Moved), evictSpan)
		of.bytes += bytes
		of.flows = append(of.flows, holding{holder, bytes, float64(held.Data+held.Own/evictOwn) * idle.Seconds()})
	}
	return all
}

// congestion has writers wait for memory as they do for the conn.
type congestion struct {
	link   *link.Link
	budget *budget.Budget
}

// Congested reports whether writers should wait, until the channel is closed.
func (c congestion) Congested() (<-chan struct{}, bool) {
	if wait, full := c.budget.Congested(); full {
		return wait, true
	}
	return c.link.Congested()
}

// epoch is where nanotime begins.
var epoch = time.Now()

// nanotime is the monotonic time in nanoseconds, from an arbitrary beginning.
func nanotime() int64 { return int64(time.Since(epoch)) }

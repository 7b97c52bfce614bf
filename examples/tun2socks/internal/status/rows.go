package status

import (
	"cmp"
	"slices"
	"time"

	"l3extract/adapters/control"
	"l3extract/stack"
)

// order says which flows come first.
type order int

const (
	byRate order = iota
	byBytes
	byAge
	orders
)

var orderNames = [orders]string{"rate", "bytes", "age"}

// row is a flow with its rates, in bytes a second.
type row struct {
	flow    control.Flow
	in, out float64
}

// arrange makes the rows of the samples.
func (m *model) arrange() {
	if m.now == nil {
		return
	}
	m.rows = m.rows[:0]
	known := false
	for _, f := range m.now.flows.Flows {
		r := row{flow: f}
		if m.before != nil {
			old, ok := m.before.moved[f.ID] // a new one has moved all of it since
			if ok || f.Opened.After(m.before.stats.Now) {
				r.in, r.out = m.rate(f.In, old[0]), m.rate(f.Out, old[1])
			}
		}
		known = known || f.ID == m.selected
		m.rows = append(m.rows, r)
	}
	if !known {
		m.selected = 0
	}
	slices.SortFunc(m.rows, func(a, b row) int {
		switch m.order {
		case byRate:
			if c := cmp.Compare(b.in+b.out, a.in+a.out); c != 0 {
				return c
			}
			fallthrough
		case byBytes:
			if c := cmp.Compare(b.flow.In+b.flow.Out, a.flow.In+a.flow.Out); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.flow.ID, b.flow.ID)
	})
}

// rate is by how much a counter has grown in a second.
func (m *model) rate(now, before uint64) float64 {
	if m.before == nil || now < before {
		return 0
	}
	took := m.now.stats.Now.Sub(m.before.stats.Now)
	if took < time.Millisecond {
		return 0
	}
	return float64(now-before) / took.Seconds()
}

// total returns how much a counter of the stack grows in a second.
func (m *model) total(of func(*stack.Stats) uint64) float64 {
	if m.before == nil {
		return 0
	}
	return m.rate(of(&m.now.stats.Stack), of(&m.before.stats.Stack))
}

func dropped(s *stack.Stats) (n uint64) {
	for _, by := range s.Drops {
		n += by
	}
	return n
}

// most returns the largest of counts, as "cause n", and their sum.
func most(counts map[string]uint64, n int) (list []string, sum uint64) {
	var keys []string
	for k, v := range counts {
		keys = append(keys, k)
		sum += v
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, k := range keys[:min(n, len(keys))] {
		list = append(list, printable(k)+" "+number(counts[k]))
	}
	return list, sum
}

package fifo

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type thing struct {
	id   int
	node Node[thing]
}

// on lists what is on l, after a look at every link.
func on(t *testing.T, l *List[thing]) []int {
	t.Helper()
	var ids []int
	var prev *Node[thing]
	for n := l.first; n != nil; prev, n = n, n.next {
		if n.prev != prev || n.on != l || n != &n.of.node {
			t.Fatalf("behind %v: node of %d with wrong links", ids, n.of.id)
		}
		ids = append(ids, n.of.id)
	}
	if l.last != prev {
		t.Fatalf("%v: last is another", ids)
	}
	return ids
}

func TestOrder(t *testing.T) {
	for _, tc := range []struct {
		name         string
		push, remove []int
		want         []int
	}{
		{name: "empty"},
		{name: "one", push: []int{1}, want: []int{1}},
		{name: "as they came", push: []int{3, 1, 2}, want: []int{3, 1, 2}},
		{name: "the first goes", push: []int{1, 2, 3}, remove: []int{1}, want: []int{2, 3}},
		{name: "one between goes", push: []int{1, 2, 3}, remove: []int{2}, want: []int{1, 3}},
		{name: "the last goes", push: []int{1, 2, 3}, remove: []int{3}, want: []int{1, 2}},
		{name: "the only one goes", push: []int{1}, remove: []int{1}},
		{name: "all go, from behind", push: []int{1, 2, 3}, remove: []int{3, 2, 1}},
		{name: "one goes twice", push: []int{1, 2}, remove: []int{1, 1}, want: []int{2}},
		{name: "one goes that never came", push: []int{1, 2}, remove: []int{0}, want: []int{1, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l List[thing]
			things := make([]thing, 4)
			for _, id := range tc.push {
				things[id].id = id
				l.Push(&things[id].node, &things[id])
			}
			for _, id := range tc.remove {
				things[id].node.Remove()
				if things[id].node != (Node[thing]{}) {
					t.Errorf("%d still has links", id)
				}
			}
			if got := on(t, &l); !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
			first := l.First()
			if (first == nil) != (len(tc.want) == 0) || first != nil && first != &things[tc.want[0]] {
				t.Errorf("first is %v of %v", first, tc.want)
			}
		})
	}
}

// TestWander moves things between two Lists as the dice fall, and two slices with them.
func TestWander(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var lists [2]List[thing]
	var want [2][]int
	things := make([]thing, 12)
	for id := range things {
		things[id].id = id
	}
	for range 20_000 {
		id := dice.IntN(len(things))
		to := dice.IntN(len(lists) + 1) // the last: none
		things[id].node.Remove()
		for i := range want {
			want[i] = slices.DeleteFunc(want[i], func(other int) bool { return other == id })
		}
		if to < len(lists) {
			lists[to].Push(&things[id].node, &things[id])
			want[to] = append(want[to], id)
		}
		for i := range lists {
			if got := on(t, &lists[i]); !slices.Equal(got, want[i]) {
				t.Fatalf("list %d holds %v, want %v", i, got, want[i])
			}
		}
	}
}

func TestPushTwicePanics(t *testing.T) {
	var a, b List[thing]
	one := thing{id: 1}
	a.Push(&one.node, &one)
	for _, l := range []*List[thing]{&a, &b} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			l.Push(&one.node, &one)
		}()
	}
	if got := on(t, &a); !slices.Equal(got, []int{1}) || b.First() != nil {
		t.Errorf("%v and %v afterwards", got, on(t, &b))
	}
}

func TestNoAllocations(t *testing.T) {
	var l List[thing]
	things := make([]thing, 100)
	if n := testing.AllocsPerRun(10, func() {
		for i := range things {
			l.Push(&things[i].node, &things[i])
		}
		for first := l.First(); first != nil; first = l.First() {
			first.node.Remove()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

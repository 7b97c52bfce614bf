package fifo

import "iter"

// List is a queue of things of type T. The zero List is empty. It must not be copied
// while something is on it.
type List[T any] struct {
	first, last *Node[T]
}

// Node is what a thing needs to be on a List, on one at a time: a field of it, mostly.
// The zero Node is on none. It must not be copied while it is on one.
type Node[T any] struct {
	of         *T
	on         *List[T] // nil: none, and all else is zero
	prev, next *Node[T]
}

// Push puts of, whose Node is n, behind all others. It panics if n is on a List.
func (l *List[T]) Push(n *Node[T], of *T) {
	if n.on != nil {
		panic("fifo: Push of what is on a List")
	}
	n.of, n.on, n.prev = of, l, l.last
	if l.last != nil {
		l.last.next = n
	} else {
		l.first = n
	}
	l.last = n
}

// First returns what came first of all that is on the List; nil if nothing is.
func (l *List[T]) First() *T {
	if l.first == nil {
		return nil
	}
	return l.first.of
}

// All are the things on the List, first to last. Nothing may be put on it or taken off
// meanwhile.
func (l *List[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for n := l.first; n != nil && yield(n.of); n = n.next {
		}
	}
}

// Remove takes the thing off the List that it is on, if there is one.
func (n *Node[T]) Remove() {
	l := n.on
	if l == nil {
		return
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.last = n.prev
	}
	*n = Node[T]{}
}

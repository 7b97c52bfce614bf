package udp

// node is a place in a list, embedded in what it lists.
type node[T any] struct {
	prev, next *node[T]
	owner      T
}

// list is a ring of nodes around itself, oldest first. It must not be copied.
type list[T any] struct{ root node[T] }

func newList[T any]() *list[T] {
	l := &list[T]{}
	l.root.prev, l.root.next = &l.root, &l.root
	return l
}

// front returns the oldest node, or nil.
func (l *list[T]) front() *node[T] {
	if l.root.next == &l.root {
		return nil
	}
	return l.root.next
}

// pushBack adds n, which is in no list, as the newest.
func (l *list[T]) pushBack(n *node[T]) {
	last := l.root.prev
	n.prev, n.next = last, &l.root
	last.next, l.root.prev = n, n
}

// moveToBack makes n, which is in l, the newest.
func (l *list[T]) moveToBack(n *node[T]) {
	if l.root.prev != n {
		n.unlink()
		l.pushBack(n)
	}
}

// unlink takes n out of the list it is in.
func (n *node[T]) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

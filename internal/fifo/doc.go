// Package fifo keeps things in the order in which they came, and gives up any of
// them early: what waits for an answer, and mostly gets it before it is late. As
// long as all wait for the same time the first of a [List] is the first to be late,
// so a single timer serves them all, without a heap.
//
// A thing holds its own [Node], so a List allocates nothing and each method takes
// constant time. A List does not bound itself: it holds what its user lets in.
//
// Lists have no lock. A List, with all that is on it, is for one goroutine at a time:
// its user holds a lock, the same for all Lists that a thing moves between.
package fifo

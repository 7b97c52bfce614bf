package dns

import "sync"

// flights are the questions that upstreams are being asked, each once however many
// clients wait for its answer.
type flights struct {
	mu    sync.Mutex // a leaf
	byKey map[key][]waiter
}

// waiter is a client's query that waits for an answer. It holds a place of Server's.
type waiter struct {
	query *query
	done  func([]byte)
}

// join adds w to those that wait for k, and tells whether it is the first, who asks.
func (f *flights) join(k key, w waiter) (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting, asked := f.byKey[k]
	f.byKey[k] = append(waiting, w)
	return !asked
}

// take returns those that wait for k by now. The question stays asked if it is: the
// timer that takes may come when the flight has ended.
func (f *flights) take(k key) []waiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting, asked := f.byKey[k]
	if asked {
		f.byKey[k] = nil
	}
	return waiting
}

// end returns those that wait for k. The next that joins asks again.
func (f *flights) end(k key) []waiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting := f.byKey[k]
	delete(f.byKey, k)
	return waiting
}

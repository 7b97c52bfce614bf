package control

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"time"

	"l3extract/adapters/forward"
	"l3extract/stack"
)

// Stats is the answer of GET /stats. The fields below Stack, Forward and Extra have the
// names that they have in Go.
type Stats struct {
	Version string                       `json:"version,omitempty"` // Server.Version
	Started time.Time                    `json:"started"`           // when the Server was first used
	Now     time.Time                    `json:"now"`
	Process Process                      `json:"process"`
	Stack   stack.Stats                  `json:"stack"`
	Forward *forward.Stats               `json:"forward,omitempty"`
	Ended   map[string]map[string]uint64 `json:"ended,omitempty"` // flows, by network and cause
	Extra   map[string]any               `json:"extra,omitempty"`
}

// Process is what the Go runtime says of itself.
type Process struct {
	Goroutines int    `json:"goroutines"` // there are now
	Heap       uint64 `json:"heap"`       // bytes in use
	System     uint64 `json:"system"`     // bytes that it holds of the system, less those given back
}

// Stats returns the account as of now.
func (s *Server) Stats(context.Context) (Stats, error) {
	s.init()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	st := Stats{
		Version: s.Version, Started: s.started, Now: time.Now(), Stack: s.Stack.Stats(),
		Process: Process{Goroutines: runtime.NumGoroutine(), Heap: m.HeapInuse, System: m.Sys - m.HeapReleased},
	}
	if s.Forward != nil {
		f := s.Forward.Stats()
		st.Forward = &f
	}
	if s.Causes != nil {
		st.Ended = s.Causes.Snapshot()
	}
	if s.Extra != nil {
		st.Extra = s.Extra()
	}
	return st, nil
}

func (s *Server) serveStats(w http.ResponseWriter, r *http.Request) {
	st, _ := s.Stats(r.Context()) // it has no error
	answer(w, st)
}

// Causes counts the flows that have ended, by network and cause. The zero Causes is
// ready. All methods may be called at once.
type Causes struct {
	mu sync.Mutex // a leaf
	n  map[string]map[string]uint64
}

// Closed counts a flow that has ended; it is a stack.Trace.Close.
func (c *Causes) Closed(f stack.Flow) {
	cause := CauseOf(f.Cause)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]map[string]uint64)
	}
	by := c.n[f.Network]
	if by == nil {
		by = make(map[string]uint64)
		c.n[f.Network] = by
	}
	by[cause]++
}

// Snapshot returns the counts as of now. Causes that never happened are missing.
func (c *Causes) Snapshot() map[string]map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]map[string]uint64, len(c.n))
	for network, by := range c.n {
		all[network] = make(map[string]uint64, len(by))
		for cause, n := range by {
			all[network][cause] = n
		}
	}
	return all
}

// CauseOf returns the stack.Cause in the cause of a flow's end, by its text; "other" if
// there is none, which keeps the number of causes small.
func CauseOf(err error) string {
	var c stack.Cause
	switch {
	case err == nil:
		return string(stack.Closed)
	case !errors.As(err, &c):
		return "other"
	}
	return string(c)
}

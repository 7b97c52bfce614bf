package control

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"l3extract/stack"
)

// Flow is a live flow as it is shown.
type Flow struct {
	ID          stack.FlowID   `json:"id"`      // of the stack
	Network     string         `json:"network"` // "tcp" or "udp"
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"` // "" for a UDP mapping that serves many
	Name        string         `json:"name,omitempty"`
	Outbound    string         `json:"outbound,omitempty"`
	State       string         `json:"state"`
	Opened      time.Time      `json:"opened"`
	In          uint64         `json:"in"`  // payload bytes from the client
	Out         uint64         `json:"out"` // and to it
}

// Flows is the answer of GET /flows.
type Flows struct {
	Live    int    `json:"live"`    // flows there are
	Matched int    `json:"matched"` // those that the Query is about
	Flows   []Flow `json:"flows"`   // the first of them
}

// Query says which flows are wanted. The zero Query is about all of them.
type Query struct {
	Network     string       // "tcp" or "udp"
	Source      netip.Prefix // of the client
	Destination netip.Prefix
	Port        uint16 // of the destination
	Name        string // the destination's name or one above it
	Outbound    string

	// Sort is "id", the oldest first; "new", the newest first; or "bytes", those that
	// have moved most first. Default: "id".
	Sort string

	// Limit is how many are answered. Default: DefaultLimit. At most MaxLimit.
	Limit int
}

// Limits of an answer.
const (
	DefaultLimit = 1000
	MaxLimit     = 10000
)

// ErrNoFlow says that there is no flow of an ID, or no longer.
var ErrNoFlow = errors.New("control: no such flow")

// parseQuery reads what encode has written, and what people write.
func parseQuery(v url.Values) (q Query, err error) {
	for key, values := range v {
		value := values[len(values)-1]
		switch key {
		case "network":
			q.Network = value
			if value != "tcp" && value != "udp" {
				err = errors.New("want tcp or udp")
			}
		case "source":
			q.Source, err = parsePrefix(value)
		case "destination":
			q.Destination, err = parsePrefix(value)
		case "port":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 16)
			q.Port = uint16(n)
		case "name":
			q.Name = strings.ToLower(strings.TrimSuffix(value, "."))
		case "outbound":
			q.Outbound = value
		case "sort":
			q.Sort = value
			if value != "id" && value != "new" && value != "bytes" {
				err = errors.New("want id, new or bytes")
			}
		case "limit":
			q.Limit, err = strconv.Atoi(value)
			if err == nil && (q.Limit < 1 || q.Limit > MaxLimit) {
				err = fmt.Errorf("want 1 to %d", MaxLimit)
			}
		default:
			err = errors.New("there is no such filter")
		}
		if err != nil {
			return q, fmt.Errorf("%s=%s: %w", key, value, err)
		}
	}
	return q, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// encode returns q as a query of a URL.
func (q Query) encode() string {
	v := make(url.Values)
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("network", q.Network)
	if q.Source.IsValid() {
		v.Set("source", q.Source.String())
	}
	if q.Destination.IsValid() {
		v.Set("destination", q.Destination.String())
	}
	if q.Port != 0 {
		v.Set("port", strconv.Itoa(int(q.Port)))
	}
	set("name", q.Name)
	set("outbound", q.Outbound)
	set("sort", q.Sort)
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v.Encode()
}

// match tells whether q is about f.
func (q *Query) match(f *Flow) bool {
	name := strings.ToLower(f.Name)
	return (q.Network == "" || q.Network == f.Network) &&
		(!q.Source.IsValid() || q.Source.Contains(f.Source.Addr())) &&
		(!q.Destination.IsValid() || q.Destination.Contains(f.Destination.Addr())) &&
		(q.Port == 0 || q.Port == f.Destination.Port()) &&
		(q.Name == "" || name == q.Name || strings.HasSuffix(name, "."+q.Name)) &&
		(q.Outbound == "" || q.Outbound == f.Outbound)
}

// compare orders flows as Sort says.
func (q *Query) compare(a, b *Flow) int {
	switch q.Sort {
	case "bytes":
		if x, y := a.In+a.Out, b.In+b.Out; x != y {
			return order(y, x)
		}
	case "new":
		return order(b.ID, a.ID)
	}
	return order(a.ID, b.ID)
}

func order[T uint64 | stack.FlowID](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Flows returns the flows that q is about. It keeps no more of them than it returns.
func (s *Server) Flows(_ context.Context, q Query) (Flows, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	best := &worstFirst{q: &q}
	var all Flows
	for info := range s.Stack.Flows() {
		all.Live++
		f := s.flow(info)
		if !q.match(&f) {
			continue
		}
		all.Matched++
		if len(best.flows) < min(limit, MaxLimit) {
			heap.Push(best, f)
		} else if q.compare(&f, &best.flows[0]) < 0 {
			best.flows[0] = f
			heap.Fix(best, 0)
		}
	}
	slices.SortFunc(best.flows, func(a, b Flow) int { return q.compare(&a, &b) })
	all.Flows = best.flows
	if all.Flows == nil {
		all.Flows = []Flow{} // in JSON a list that is empty, and not null
	}
	return all, nil
}

// flow is what is shown of a flow.
func (s *Server) flow(i stack.Flow) Flow {
	f := Flow{
		ID: i.ID, Network: i.Network, Source: i.Source, Destination: i.Destination,
		State: i.State, Opened: i.Opened, In: i.In, Out: i.Out,
	}
	if s.Describe != nil {
		f.Name, f.Outbound = s.Describe(i)
	}
	return f
}

// Kill ends a flow with the cause stack.Killed. ErrNoFlow: there is none.
func (s *Server) Kill(_ context.Context, id stack.FlowID) error {
	if !s.Stack.Kill(id, nil) {
		return ErrNoFlow
	}
	return nil
}

// worstFirst is a heap of flows whose first goes when there is a better one.
type worstFirst struct {
	q     *Query
	flows []Flow
}

func (h *worstFirst) Len() int           { return len(h.flows) }
func (h *worstFirst) Less(i, j int) bool { return h.q.compare(&h.flows[i], &h.flows[j]) > 0 }
func (h *worstFirst) Swap(i, j int)      { h.flows[i], h.flows[j] = h.flows[j], h.flows[i] }
func (h *worstFirst) Push(x any)         { h.flows = append(h.flows, x.(Flow)) }
func (h *worstFirst) Pop() any {
	last := len(h.flows) - 1
	f := h.flows[last]
	h.flows = h.flows[:last]
	return f
}

func (s *Server) serveFlows(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	all, _ := s.Flows(r.Context(), q) // it has no error
	answer(w, all)
}

func (s *Server) serveFlow(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err == nil {
		for info := range s.Stack.Flows() {
			if info.ID == stack.FlowID(id) {
				answer(w, s.flow(info))
				return
			}
		}
	}
	fail(w, http.StatusNotFound, "no such flow")
}

func (s *Server) serveKill(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || s.Kill(r.Context(), stack.FlowID(id)) != nil {
		fail(w, http.StatusNotFound, "no such flow")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

package main

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"time"
)

// figures are those of one visit, or their medians, by the names below.
type figures map[string]float64

const (
	perCPU        = "-cpu" // behind up1 and so on: Gbit per CPU second
	connections   = "conn" // per second
	connectionCPU = "conn-cpu"

	pingP50     = "ping-p50" // µs
	pingP99     = "ping-p99"
	loadedP50   = "loaded-p50"
	loadedP99   = "loaded-p99"
	datagramP50 = "udp-ping-p50"
	datagramP99 = "udp-ping-p99"

	// Loads of datagrams: one of these, up or down, and one of the last three.
	steady        = "udp-100-"  // Mbit/s
	flood         = "udp-1000-" // Mbit/s
	datagramsSent = "-sent"     // a second
	datagramsLost = "-lost"     // percent
	datagramCPU   = "-cpu"      // µs for each that arrived

	quicRate = "quic" // Gbit/s; with perCPU per CPU second

	memory      = "rss" // bytes, at the start
	memoryEach  = "rss-each"
	memoryGone  = "rss-gone"
	memoryAgain = "rss-again"
	memoryMore  = "rss-more" // of the second time than of the first
	wakeUps     = "switches"
)

// The figures of load.
const (
	pageQuiet, pageNeighbour, pageCrowd          = "page quiet", "page of a neighbour", "page of the crowd"              // p95, ms
	connectQuiet, connectNeighbour, connectCrowd = "connect quiet", "connect of a neighbour", "connect of the crowd"     // p95, ms
	crowdCPU, crowdUnanswered, crowdTrickled     = "load: CPU seconds in a second", "load: unanswered %", "load: kbit/s" // of the crowd's short connections, and its trickles
)

// memoryIdle is bytes with so many idle connections.
func memoryIdle(conns int) string { return "rss-" + strconv.Itoa(conns) }

var bulkNames = []string{"up1", "down1", "up8", "down8"}

// proxyNames are the programs of which the better one is the yardstick.
var proxyNames = []string{"proxy-1", "proxy"}

// visited is what one visit brought. The first round is 1; what is measured once is in
// round 0.
type visited struct {
	Round   int     `json:"round"`
	Program string  `json:"program"`
	Figures figures `json:"figures"`
	Error   string  `json:"error,omitempty"`
}

// report is what is written, as JSON with all of it.
type report struct {
	Commit    string             `json:"commit"`     // of ours
	Load      string             `json:"load"`       // averages of 1, 5 and 15 minutes when it began
	LoadAfter string             `json:"load_after"` // and when it ended: its own is in it
	Machine   string             `json:"machine"`
	Command   string             `json:"command"`
	Begun     time.Time          `json:"begun"`
	Ended     time.Time          `json:"ended"`
	MTU       int                `json:"mtu"`
	Rounds    int                `json:"rounds"`
	IdleFor   time.Duration      `json:"idle_for"` // ns
	GoneFor   time.Duration      `json:"gone_for"` // ns
	Conns     []int              `json:"conns"`
	Programs  []string           `json:"programs"`
	LeftOut   map[string]string  `json:"left_out,omitempty"`
	Visits    []visited          `json:"visits"`
	Medians   map[string]figures `json:"medians"`
}

// summarise fills in the medians.
func (r *report) summarise() {
	all := make(map[string]map[string][]float64)
	for _, v := range r.Visits {
		if all[v.Program] == nil {
			all[v.Program] = make(map[string][]float64)
		}
		for name, f := range v.Figures {
			all[v.Program][name] = append(all[v.Program][name], f)
		}
	}
	r.Medians = make(map[string]figures)
	for program, of := range all {
		r.Medians[program] = make(figures)
		for name, values := range of {
			r.Medians[program][name] = median(values)
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// yardstick is the better of the proxies' figures; false when there is none.
func (r *report) yardstick(name string, better func(a, b float64) bool) (best float64, ok bool) {
	for _, p := range proxyNames {
		if f, has := r.Medians[p][name]; has && (!ok || better(f, best)) {
			best, ok = f, true
		}
	}
	return best, ok
}

func more(a, b float64) bool { return a > b }
func less(a, b float64) bool { return a < b }

// write writes all of it as JSON.
func (r *report) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

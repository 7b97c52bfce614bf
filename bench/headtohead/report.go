package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// figures are those of one visit, or their medians, by the names below.
type figures map[string]float64

const (
	perCPU        = "-cpu" // behind up1 and so on: Gbit per CPU second
	connections   = "conn" // per second
	connectionCPU = "conn-cpu"
	pingP50       = "ping-p50" // µs
	pingP99       = "ping-p99"
	memory        = "rss"      // bytes, at the start
	memoryIdle    = "rss-idle" // with idle connections
)

// idleConns is how many.
const idleConns = 1000

var bulkNames = []string{"up1", "down1", "up8", "down8"}

// proxyNames are the programs of which the better one is the yardstick.
var proxyNames = []string{"proxy-1", "proxy"}

// visited is what one visit brought.
type visited struct {
	Round   int     `json:"round"`
	Program string  `json:"program"`
	Figures figures `json:"figures"`
	Error   string  `json:"error,omitempty"`
}

// report is what is written, as JSON with all of it.
type report struct {
	Load     string             `json:"load"` // averages of 1, 5 and 15 minutes when it began
	Machine  string             `json:"machine"`
	Command  string             `json:"command"`
	Begun    time.Time          `json:"begun"`
	Rounds   int                `json:"rounds"`
	Programs []string           `json:"programs"`
	LeftOut  map[string]string  `json:"left_out,omitempty"`
	Visits   []visited          `json:"visits"`
	Medians  map[string]figures `json:"medians"`
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

// yardstick is the better of the proxies' figures; 0 when there is none.
func (r *report) yardstick(name string, better func(a, b float64) bool) (best float64) {
	for _, p := range proxyNames {
		if f, ok := r.Medians[p][name]; ok && (best == 0 || better(f, best)) {
			best = f
		}
	}
	return best
}

func more(a, b float64) bool { return a > b }
func less(a, b float64) bool { return a < b }

// column is one of a table. With better set, the ratio to the yardstick is shown.
type column struct {
	title, format string
	value         func(figures) (float64, bool)
	ratio         string // name of the figure to compare
	better        func(a, b float64) bool
}

func plain(title, format, name string, better func(a, b float64) bool) column {
	return column{title, format, func(f figures) (float64, bool) {
		v, ok := f[name]
		return v, ok
	}, name, better}
}

func (r *report) tables() map[string][]column {
	rate, cpu := []column(nil), []column(nil)
	for i, title := range []string{"up", "down", "8 up", "8 down"} {
		rate = append(rate, plain(title, "%.2f", bulkNames[i], more))
		cpu = append(cpu, plain(title, "%.2f", bulkNames[i]+perCPU, more))
	}
	mebi := func(title, name string) column {
		return column{title: title, format: "%.1f", value: func(f figures) (float64, bool) {
			v, ok := f[name]
			return v / (1 << 20), ok
		}}
	}
	return map[string][]column{
		"Gbit/s":              rate,
		"Gbit per CPU second": cpu,
		"Short connections, and a byte there and back": {
			plain("connections/s", "%.0f", connections, more),
			plain("CPU µs per connection", "%.0f", connectionCPU, less),
			plain("ping-pong p50 µs", "%.1f", pingP50, less),
			plain("p99 µs", "%.1f", pingP99, less),
		},
		"Resident memory": {
			mebi("MiB at the start", memory),
			mebi(fmt.Sprintf("MiB with %d idle connections", idleConns), memoryIdle),
			{title: "KiB per idle connection", format: "%.1f", value: func(f figures) (float64, bool) {
				v, ok := f[memoryIdle]
				return (v - f[memory]) / idleConns / (1 << 10), ok
			}},
		},
	}
}

var tableOrder = []string{
	"Gbit per CPU second", "Gbit/s", "Short connections, and a byte there and back", "Resident memory",
}

// markdown writes the tables.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	load := ""
	if r.Load != "" {
		load = "; load averages before it began: " + r.Load
	}
	fmt.Fprintf(&b, "# Head to head\n\n%s, on %s.\n\n", r.Begun.UTC().Format("2006-01-02 15:04 UTC"), r.Machine+load)
	fmt.Fprintf(&b, "```\n%s\n```\n\n", r.Command)
	fmt.Fprintf(&b, "Medians (of %d rounds), MTU 1500, IPv4, direct. In brackets the ratio to the yardstick: the better of the plain "+
		"copying\nproxies (`proxy-1` has GOMAXPROCS 1) in that column. Only ratios within one run mean something.\n", r.Rounds)
	tables := r.tables()
	for _, title := range tableOrder {
		fmt.Fprintf(&b, "\n## %s\n\n|", title)
		for _, c := range tables[title] {
			fmt.Fprintf(&b, " | %s", c.title)
		}
		fmt.Fprintf(&b, " |\n|---|%s\n", strings.Repeat("---|", len(tables[title])))
		for _, p := range r.Programs {
			fmt.Fprintf(&b, "| %s |", p)
			for _, c := range tables[title] {
				fmt.Fprintf(&b, " %s |", r.cell(c, r.Medians[p]))
			}
			b.WriteByte('\n')
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fmt.Fprintf(&b, "\nLeft out: %s, %s\n", name, oneLine(r.LeftOut[name]))
	}
	for _, v := range r.Visits {
		if v.Error != "" {
			fmt.Fprintf(&b, "\nRound %d, %s: %s\n", v.Round, v.Program, oneLine(v.Error))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *report) cell(c column, f figures) string {
	v, ok := c.value(f)
	if !ok {
		return "–"
	}
	s := fmt.Sprintf(c.format, v)
	if c.better == nil {
		return s
	}
	if y := r.yardstick(c.ratio, c.better); y > 0 {
		s += fmt.Sprintf(" (%.2f)", v/y)
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// write writes all of it as JSON.
func (r *report) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

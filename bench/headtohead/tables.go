package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// column is one of a table. With better set, the ratio to the yardstick is shown.
type column struct {
	title, format string
	name          string  // of the figure
	unit          float64 // of what is shown; 0 is 1
	better        func(a, b float64) bool
}

// table is one of the report, with a note beneath its title.
type table struct {
	title, note string
	columns     []column
}

func (r *report) tables() []table {
	var rate, perSecond []column
	for i, title := range []string{"up", "down", "8 up", "8 down"} {
		rate = append(rate, column{title: title, format: "%.2f", name: bulkNames[i], better: more})
		perSecond = append(perSecond, column{title: title, format: "%.2f", name: bulkNames[i] + perCPU, better: more})
	}
	datagrams := func(load string) (c []column) {
		for _, way := range []string{"up", "down"} {
			c = append(c,
				column{title: way + ": lost %", format: "%.1f", name: load + way + datagramsLost},
				column{title: "CPU µs", format: "%.2f", name: load + way + datagramCPU, better: less})
		}
		if load == flood {
			c = append(c,
				column{title: "sent/s up", format: "%.0f", name: load + "up" + datagramsSent},
				column{title: "down", format: "%.0f", name: load + "down" + datagramsSent})
		}
		return c
	}
	return []table{
		{"Gbit per CPU second", "The processor time is that of the program alone.", perSecond},
		{"Gbit/s", "On a machine with few processors client and server take from the program what they need.", rate},
		{"Short connections", "Connect, a byte each way, close; 50 at once, to 16 addresses.", []column{
			{title: "connections/s", format: "%.0f", name: connections, better: more},
			{title: "CPU µs per connection", format: "%.0f", name: connectionCPU, better: less},
		}},
		{"A byte there and back, µs", "On one processor; under load, which is four streams up and four down, not.", []column{
			{title: "TCP p50", format: "%.1f", name: pingP50, better: less},
			{title: "p99", format: "%.1f", name: pingP99, better: less},
			{title: "under load p50", format: "%.0f", name: loadedP50, better: less},
			{title: "p99", format: "%.0f", name: loadedP99, better: less},
			{title: "UDP p50", format: "%.1f", name: datagramP50, better: less},
			{title: "p99", format: "%.1f", name: datagramP99, better: less},
		}},
		{"UDP, 100 Mbit/s", "Datagrams of 1200 bytes; the processor time is for each that arrived.", datagrams(steady)},
		{"UDP, 1 Gbit/s", "What is sent is less where the machine has no time left.", datagrams(flood)},
		{"QUIC", "A download by quic-go on one stream. Client and server take most of the machine.", []column{
			{title: "Gbit/s", format: "%.2f", name: quicRate, better: more},
			{title: "Gbit per CPU second", format: "%.2f", name: quicRate + perCPU, better: more},
		}},
		{"Under load", "p95 in ms of a page, which is 20 fetches of 8 KiB over new connections, 6 at a time, and of connecting. The load: 2 000 TCP connections at " +
			"20 kbit/s, 5 000 UDP sockets with a datagram a second, 200 new connections a second of which a quarter are never answered.", []column{
			{title: "page, quiet", format: "%.1f", name: pageQuiet},
			{title: "another client's", format: "%.1f", name: pageNeighbour, better: less},
			{title: "the same client's", format: "%.1f", name: pageCrowd, better: less},
			{title: "connect, quiet", format: "%.2f", name: connectQuiet},
			{title: "another client's", format: "%.2f", name: connectNeighbour, better: less},
			{title: "the same client's", format: "%.2f", name: connectCrowd, better: less},
			{title: "CPU", format: "%.2f", name: crowdCPU},
			{title: "unanswered %", format: "%.2f", name: crowdUnanswered},
		}},
		r.memoryTable(),
	}
}

func (r *report) memoryTable() table {
	const kibi, mebi = 1 << 10, 1 << 20
	c := []column{{title: "MiB at the start", format: "%.1f", name: memory, unit: mebi, better: less}}
	for _, n := range r.Conns {
		c = append(c, column{title: fmt.Sprintf("with %d", n), format: "%.1f", name: memoryIdle(n), unit: mebi})
	}
	return table{
		"Idle", "Resident memory with idle connections, and context switches of all threads with none. Measured once.", append(c,
			column{title: "KiB each", format: "%.1f", name: memoryEach, unit: kibi, better: less},
			column{title: fmt.Sprintf("MiB %v after them", r.GoneFor), format: "%.1f", name: memoryGone, unit: mebi},
			column{title: "MiB more the second time", format: "%+.1f", name: memoryMore, unit: mebi},
			column{title: fmt.Sprintf("switches in %v", r.IdleFor), format: "%.0f", name: wakeUps},
		),
	}
}

// measured tells whether any program has a figure in the table.
func (r *report) measured(t table) bool {
	return slices.ContainsFunc(t.columns, func(c column) bool { return len(r.having(c.name)) > 0 })
}

// markdown writes the tables.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Head to head\n\n%s, %v long, on %s. Ours is commit %s. Load averages before: %s; after, with its own: %s.\n\n",
		r.Begun.UTC().Format("2006-01-02 15:04 UTC"), r.Ended.Sub(r.Begun).Round(time.Second), r.Machine, r.Commit, r.Load, r.LoadAfter)
	fmt.Fprintf(&b, "```\n%s\n```\n\n", r.Command)
	fmt.Fprintf(&b, "Medians of %d rounds, MTU %d, IPv4, direct. In brackets the ratio to the yardstick: the better of the plain "+
		"copying\nproxies (`proxy-1` has GOMAXPROCS 1) in that column. Only ratios within one run mean something.\n", r.Rounds, r.MTU)
	for _, t := range r.tables() {
		if !r.measured(t) {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n|", t.title, t.note)
		for _, c := range t.columns {
			fmt.Fprintf(&b, " | %s", c.title)
		}
		fmt.Fprintf(&b, " |\n|---|%s\n", strings.Repeat("---|", len(t.columns)))
		for _, p := range r.Programs {
			fmt.Fprintf(&b, "| %s |", p)
			for _, c := range t.columns {
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
	v, ok := f[c.name]
	if !ok {
		return "–"
	}
	shown := v
	if c.unit > 0 {
		shown /= c.unit
	}
	s := fmt.Sprintf(c.format, shown)
	if c.better == nil {
		return s
	}
	if y, ok := r.yardstick(c.name, c.better); ok && y > 0 {
		s += fmt.Sprintf(" (%.2f)", v/y)
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

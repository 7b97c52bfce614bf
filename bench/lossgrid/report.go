package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// report is what is written, as JSON with all of it.
type report struct {
	Machine  string     `json:"machine"`
	Runs     []run      `json:"runs"`
	Measured []measured `json:"measured"`
}

// run is one call of the program.
type run struct {
	Command string    `json:"command"`
	Begun   time.Time `json:"begun"`
	Load    string    `json:"load,omitempty"` // averages of 1, 5 and 15 minutes when it began
}

// cell is where a row and a column meet.
type cell struct {
	link    link
	variant variant
}

// medians returns, for each cell, the median of what figure says of its transfers. A
// transfer that failed has moved nothing.
func (r *report) medians(figure func(m *measured) float64) map[cell]float64 {
	all := make(map[cell][]float64)
	for i := range r.Measured {
		m := &r.Measured[i]
		c := cell{m.Link, m.Variant}
		all[c] = append(all[c], figure(m))
	}
	medians := make(map[cell]float64)
	for c, v := range all {
		medians[c] = median(v)
	}
	return medians
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// links and variants are the rows and columns that were measured.
func (r *report) links() []link {
	var all []link
	for i := range r.Measured {
		if l := r.Measured[i].Link; !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.RTT, b.RTT), cmp.Compare(a.Loss, b.Loss), cmp.Compare(a.Reorder, b.Reorder))
	})
	return all
}

func (r *report) variants() []variant {
	var all []variant
	for _, rec := range recoveries {
		for _, con := range congestions {
			v := variant{rec.String(), con.String()}
			if slices.ContainsFunc(r.Measured, func(m measured) bool { return m.Variant == v }) {
				all = append(all, v)
			}
		}
	}
	return all
}

// ratios returns what each variant reaches of the best of each row.
func (r *report) ratios(rates map[cell]float64) map[variant][]float64 {
	of := make(map[variant][]float64)
	for _, l := range r.links() {
		best := 0.0
		for _, v := range r.variants() {
			best = max(best, rates[cell{l, v}])
		}
		for _, v := range r.variants() {
			if rate, ok := rates[cell{l, v}]; ok && best > 0 {
				of[v] = append(of[v], rate/best)
			}
		}
	}
	return of
}

// markdown writes the tables.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Loss grid\n\nOn %s.\n\n```\n", r.Machine)
	for _, run := range r.Runs {
		fmt.Fprintf(&b, "%s  # %s", run.Command, run.Begun.UTC().Format("2006-01-02 15:04 UTC"))
		if run.Load != "" {
			fmt.Fprintf(&b, ", load averages %s", run.Load)
		}
		b.WriteByte('\n')
	}
	b.WriteString("```\n")
	rates := r.medians(func(m *measured) float64 { return m.Mbit })
	r.table(&b, "Mbit/s, and in brackets what that is of the best in its row", func(l link, v variant) string {
		rate, ok := rates[cell{l, v}]
		if !ok {
			return "–"
		}
		best := 0.0
		for _, other := range r.variants() {
			best = max(best, rates[cell{l, other}])
		}
		return fmt.Sprintf("%.1f (%.2f)", rate, rate/max(best, math.SmallestNonzeroFloat64))
	})
	again := r.medians(func(m *measured) float64 { return 100 * float64(m.Retransmits) / float64(max(m.Sent, 1)) })
	r.table(&b, "Segments sent again, in per cent", func(l link, v variant) string {
		share, ok := again[cell{l, v}]
		if !ok {
			return "–"
		}
		return fmt.Sprintf("%.2f", share)
	})
	r.summary(&b, rates)
	for i := range r.Measured {
		if m := &r.Measured[i]; m.Error != "" {
			fmt.Fprintf(&b, "\n%v, %v, seed %d: %s\n", m.Link, m.Variant, m.Seed, m.Error)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *report) table(b *strings.Builder, title string, value func(link, variant) string) {
	fmt.Fprintf(b, "\n## %s\n\n| loss | RTT | reordered |", title)
	for _, v := range r.variants() {
		fmt.Fprintf(b, " %v |", v)
	}
	fmt.Fprintf(b, "\n|---|---|---|%s\n", strings.Repeat("---|", len(r.variants())))
	for _, l := range r.links() {
		fmt.Fprintf(b, "| %s | %v | %s |", percent(l.Loss), l.RTT, percent(l.Reorder))
		for _, v := range r.variants() {
			fmt.Fprintf(b, " %s |", value(l, v))
		}
		b.WriteByte('\n')
	}
}

// summary says of each variant how far it falls behind the best.
func (r *report) summary(b *strings.Builder, rates map[cell]float64) {
	fmt.Fprintf(b, "\n## Of the best\n\n| | least | geometric mean | rows below 0.8 |\n|---|---|---|---|\n")
	ratios := r.ratios(rates)
	for _, v := range r.variants() {
		least, sum, below := 1.0, 0.0, 0
		for _, x := range ratios[v] {
			least, sum = min(least, x), sum+math.Log(max(x, 1e-6))
			if x < 0.8 {
				below++
			}
		}
		name := v.String()
		if v == defaultVariant() {
			name += " (default)"
		}
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %d |\n", name, least, math.Exp(sum/float64(max(len(ratios[v]), 1))), below)
	}
}

// write writes all of it as JSON.
func (r *report) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

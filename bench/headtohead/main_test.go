package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.in, got, c.want)
		}
	}
}

// TestRatios wants the better proxy of each column as its yardstick, and a dash
// where nothing was measured.
func TestRatios(t *testing.T) {
	r := &report{Rounds: 1, Programs: []string{"none", "proxy-1", "proxy", "ours"}, Visits: []visited{
		{Program: "none", Figures: figures{"up1": 30}},
		{Program: "proxy-1", Figures: figures{"up1": 10, connectionCPU: 100}},
		{Program: "proxy", Figures: figures{"up1": 8, connectionCPU: 50}},
		{Program: "ours", Figures: figures{"up1": 15, connectionCPU: 25}, Error: "one\nline"},
	}, LeftOut: map[string]string{"other": "not to be had"}}
	r.summarise()
	var b strings.Builder
	if err := r.markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| ours | 15.00 (1.50) | – | – | – |", "| none | 30.00 (3.00) |", "| ours | – | 25 (0.50) | – | – |",
		"Left out: other, not to be had", "ours: one line",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

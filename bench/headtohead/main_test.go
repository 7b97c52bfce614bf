package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
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

func sample() *report {
	r := &report{Rounds: 1, Conns: []int{9000}, Programs: []string{"none", "proxy-1", "proxy", "ours", "another"}, Visits: []visited{
		{Program: "none", Figures: figures{"up1": 30}},
		{Program: "proxy-1", Figures: figures{"up1": 10, "up1-cpu": 12, connectionCPU: 100, memory: 8 << 20}},
		{Program: "proxy", Figures: figures{"up1": 8, "up1-cpu": 10, connectionCPU: 50, memory: 9 << 20, memoryMore: 0}},
		{Program: "ours", Figures: figures{"up1": 15, "up1-cpu": 24, connectionCPU: 25, memory: 4 << 20, memoryEach: 2560}, Error: "one\nline"},
		{Program: "another", Figures: figures{"down8-cpu": 3}},
	}, LeftOut: map[string]string{"other": "not to be had"}}
	r.summarise()
	return r
}

// TestRatios wants the better proxy of each column as its yardstick, a dash where
// nothing was measured of a program, and no table where nothing was of any.
func TestRatios(t *testing.T) {
	var b strings.Builder
	if err := sample().markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| ours | 15.00 (1.50) | – | – | – |", "| none | 30.00 (3.00) |", "| ours | – | 25 (0.50) |\n",
		"| ours | 4.0 (0.50) | – | 2.5 | – | – | – |", "| proxy | 9.0 (1.12) | – | – | – | +0.0 | – |",
		"Left out: other, not to be had", "ours: one line",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "UDP") {
		t.Errorf("there is a table without figures in\n%s", b.String())
	}
}

// TestCharts wants the programs that have figures, and those only, in files that are
// XML.
func TestCharts(t *testing.T) {
	r := sample()
	for _, c := range []struct {
		name, want, not string
	}{{"throughput", "proxy-1 proxy ours another 24.0", "none"}, {"cost", "proxy-1 proxy ours 25.0 2.5", "another"}} {
		var b bytes.Buffer
		for _, chart := range charts {
			if chart.name == c.name {
				if err := chart.draw(r, &b); err != nil {
					t.Fatal(err)
				}
			}
		}
		words := texts(t, b.Bytes())
		for want := range strings.FieldsSeq(c.want) {
			if !words[want] {
				t.Errorf("%s: no %q among %v", c.name, want, words)
			}
		}
		if words[c.not] {
			t.Errorf("%s: %q, of which there is no figure", c.name, c.not)
		}
	}
	if got := (&report{Programs: []string{"none"}}).having(charts[0].figures...); got != nil {
		t.Errorf("%v have figures in an empty report", got)
	}
}

// texts returns what is written in an SVG.
func texts(t *testing.T, svg []byte) map[string]bool {
	words := make(map[string]bool)
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := token.(xml.CharData); ok {
			words[strings.TrimSpace(string(data))] = true
		}
	}
}

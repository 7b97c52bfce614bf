package main

import (
	"strings"
	"testing"
	"time"
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

// TestReport: ratios are to the best of the row, failures are told, and what the
// default loses is summed up.
func TestReport(t *testing.T) {
	def := defaultVariant()
	other := variant{"rack", "cubic"}
	if other == def {
		other.Congestion = "reno"
	}
	clean, bad := link{RTT: time.Millisecond}, link{Loss: 0.001, RTT: 50 * time.Millisecond, Reorder: 0.01}
	r := &report{Machine: "a machine", Runs: []run{{Command: "a command"}}, Measured: []measured{
		{Link: bad, Variant: def, Mbit: 50, Sent: 1000, Retransmits: 25},
		{Link: bad, Variant: other, Mbit: 100},
		{Link: clean, Variant: def, Mbit: 300}, {Link: clean, Variant: def, Mbit: 500},
		{Link: clean, Variant: other, Mbit: 100}, {Link: clean, Variant: other, Error: "read: cut", Seed: 7},
	}}
	var b strings.Builder
	if err := r.markdown(&b); err != nil {
		t.Fatal(err)
	}
	rows := []string{
		"| 0 % | 1ms | 0 % |", "| 0.1 % | 50ms | 1 % |",
		"400.0 (1.00)", "50.0 (0.12)", "50.0 (0.50)", "100.0 (1.00)", " 2.50 |",
		"| " + def.String() + " (default) | 0.50 | 0.71 | 1 |", "| " + other.String() + " | 0.12 | 0.35 | 1 |",
		"loss 0 %, RTT 1ms, reorder 0 %, " + other.String() + ", seed 7: read: cut", "a machine", "a command",
	}
	for _, want := range rows {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Index(b.String(), rows[0]) > strings.Index(b.String(), rows[1]) {
		t.Error("rows are not in order")
	}
}

func TestFlags(t *testing.T) {
	o, err := parse([]string{"-loss", "0,1", "-rtt", "2ms", "-reorder", "0.5", "-recovery", "rack", "-congestion", "reno,cubic"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.links) != 2 || o.links[1] != (link{0.01, 2 * time.Millisecond, 0.005}) ||
		len(o.variants) != 2 || o.variants[1] != (variant{"rack", "cubic"}) {
		t.Errorf("%+v", o)
	}
	for _, bad := range [][]string{
		{"-loss", "101"}, {"-loss", "x"}, {"-rtt", "5"}, {"-reorder", "-1"}, {"-recovery", "luck"},
		{"-congestion", "vegas"}, {"-rounds", "0"}, {"-late", "0"}, {"more"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestTransfer runs one cell as short as can be: bytes come, and are those sent.
func TestTransfer(t *testing.T) {
	p := plan{span: time.Millisecond, late: 0.5, seed: 1}
	m := transfer(t.Context(), link{Loss: 0.001, RTT: time.Millisecond, Reorder: 0.01}, defaultVariant(), p)
	if m.Error != "" || m.Bytes == 0 || m.Mbit == 0 || m.Sent == 0 || m.RTT == 0 {
		t.Errorf("%+v", m)
	}
}

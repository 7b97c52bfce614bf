package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"l3extract/tcp"
)

// link is a row of the grid.
type link struct {
	Loss    float64       `json:"loss"` // probability, per packet
	RTT     time.Duration `json:"rtt_ns"`
	Reorder float64       `json:"reorder"` // probability, per packet
}

func (l link) String() string {
	return fmt.Sprintf("loss %s, RTT %v, reorder %s", percent(l.Loss), l.RTT, percent(l.Reorder))
}

func percent(p float64) string { return strconv.FormatFloat(p*100, 'g', 4, 64) + " %" }

// variant is a column of it: what the sender does.
type variant struct {
	Recovery   string `json:"recovery"`
	Congestion string `json:"congestion"`
}

func (v variant) String() string { return v.Recovery + "/" + v.Congestion }

var (
	recoveries  = []tcp.Recovery{tcp.SACK, tcp.RACK}
	congestions = []tcp.Congestion{tcp.Reno, tcp.Cubic}
)

// config is what v is as a configuration.
func (v variant) config() (c tcp.Config, err error) {
	var ok bool
	if c.Recovery, ok = named(recoveries, v.Recovery); !ok {
		return c, fmt.Errorf("no loss detection is called %q", v.Recovery)
	}
	if c.Congestion, ok = named(congestions, v.Congestion); !ok {
		return c, fmt.Errorf("no congestion control is called %q", v.Congestion)
	}
	return c, nil
}

// named finds what calls itself name.
func named[T fmt.Stringer](all []T, name string) (found T, ok bool) {
	for _, v := range all {
		if v.String() == name {
			return v, true
		}
	}
	return found, false
}

// defaultVariant is what the zero Config chooses.
func defaultVariant() variant {
	var c tcp.Config
	return variant{c.Recovery.String(), c.Congestion.String()}
}

// list is a flag of comma-separated values.
func list[T any](s string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for field := range strings.SplitSeq(s, ",") {
		v, err := parse(strings.TrimSpace(field))
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// probability parses a percentage.
func probability(s string) (float64, error) {
	p, err := strconv.ParseFloat(s, 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return 0, fmt.Errorf("%q is no percentage", s)
	}
	return p / 100, nil
}

func word(s string) (string, error) { return s, nil }

package control

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newMetrics returns what answers /metrics. Nothing is counted for it: each answer is made
// of a Stats.
func (s *Server) newMetrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// collector makes metrics of every number in a Stats, by the names that it has there:
// Stack.TCP.Streams.Refused is l3extract_stack_tcp_streams_refused_total. So a counter that
// a package gets is shown without being named here. What is unsigned only grows, in every
// Stats of this module, and is a counter; what is signed is a gauge. A map has its keys in
// the label "cause".
type collector struct{ s *Server }

// Describe implements prometheus.Collector: which metrics there are is known when they are
// collected.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st, _ := c.s.Stats(context.Background()) // it has no error
	send := func(name string, kind prometheus.ValueType, value float64, labels []string, values ...string) {
		desc := prometheus.NewDesc("l3extract_"+name, "See the Stats of the Go package.", labels, nil)
		if m, err := prometheus.NewConstMetric(desc, kind, value, values...); err == nil {
			ch <- m
		}
	}
	send("build_info", prometheus.GaugeValue, 1, []string{"version"}, st.Version)
	for network, by := range st.Ended {
		for cause, n := range by {
			send("flows_ended_total", prometheus.CounterValue, float64(n), []string{"network", "cause"}, network, cause)
		}
	}
	groups := map[string]any{"stack": st.Stack}
	if st.Forward != nil {
		groups["forward"] = *st.Forward
	}
	for name, group := range st.Extra {
		groups[snake(name)] = group
	}
	for name, group := range groups {
		walk(name, reflect.ValueOf(group), send)
	}
}

// walk sends the numbers in v.
func walk(name string, v reflect.Value, send func(string, prometheus.ValueType, float64, []string, ...string)) {
	switch v.Kind() {
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		send(name+"_total", prometheus.CounterValue, float64(v.Uint()), nil)
	case reflect.Int, reflect.Int32, reflect.Int64:
		send(name, prometheus.GaugeValue, float64(v.Int()), nil)
	case reflect.Bool:
		n := 0.0
		if v.Bool() {
			n = 1
		}
		send(name, prometheus.GaugeValue, n, nil)
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(name, v.Elem(), send)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				walk(name+"_"+snake(f.Name), v.Field(i), send)
			}
		}
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String || v.Type().Elem().Kind() != reflect.Uint64 {
			return
		}
		for it := v.MapRange(); it.Next(); {
			send(name+"_total", prometheus.CounterValue, float64(it.Value().Uint()), []string{"cause"}, it.Key().String())
		}
	}
}

// snake makes of DialsFailed dials_failed, of TCP tcp, and of what no name may hold _.
func snake(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) || r > unicode.MaxASCII {
			r = '_'
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

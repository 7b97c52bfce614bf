package main

import (
	"log/slog"
	"reflect"
	"sync/atomic"

	"l3extract/adapters/forward"
	"l3extract/l3conn/ether"
	"l3extract/stack"
)

// totals is what there was, on all segments.
type totals struct {
	segments, refused, leases, packets, streams, failed, byPolicy, out, in, pings atomic.Uint64
}

// add counts what there was on a segment that has ended, and says what went wrong there.
func (t *totals) add(logger *slog.Logger, name string, gate *ether.Conn, st *stack.Stack, f *forward.Server) {
	e, w := gate.Stats(), f.Stats()
	t.segments.Add(1)
	t.leases.Add(uint64(len(gate.Leases())))
	t.packets.Add(e.PacketsIn)
	t.streams.Add(w.Streams)
	t.failed.Add(w.DialsFailed)
	t.byPolicy.Add(w.PolicyStreams + w.PolicyDatagrams + w.PolicyPings)
	t.out.Add(w.DatagramsOut)
	t.in.Add(w.DatagramsIn)
	t.pings.Add(w.Pings)
	for _, n := range gate.Neighbours() {
		logger.Debug("neighbour", "on", name, "addr", n.Addr, "mac", n.MAC, "quiet", n.Quiet)
	}
	logger.Info("ended", "on", name, "frames", slog.GroupValue(notZero(e)...), "drops", st.Stats().Drops)
}

// notZero are the counters that have counted something.
func notZero(e ether.Stats) (all []slog.Attr) {
	v := reflect.ValueOf(e)
	for i := range v.NumField() {
		switch name, f := v.Type().Field(i).Name, v.Field(i); {
		case f.IsZero():
		case f.CanUint():
			all = append(all, slog.Uint64(name, f.Uint()))
		default:
			all = append(all, slog.Any(name, f.Interface()))
		}
	}
	return all
}

// report writes the summary.
func (t *totals) report(logger *slog.Logger) {
	logger.Info("summary", "segments", t.segments.Load(), "refused", t.refused.Load(), "leases", t.leases.Load(),
		"packets", t.packets.Load(), "streams", t.streams.Load(), "dialFailed", t.failed.Load(),
		"refusedByPolicy", t.byPolicy.Load(), "datagramsOut", t.out.Load(), "datagramsIn", t.in.Load(), "pings", t.pings.Load())
}

package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"l3extract/adapters/control"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// untilEOF is ctx, ended when standard input ends. Its goroutine ends with the process.
func untilEOF(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // an error is an end, too
	}()
	return ctx
}

// drain ends the stack. Flows that had to be reset are no failure: whoever set -drain has
// said how long they count.
func (p *program) drain() {
	limit := time.Duration(p.config().Drain)
	p.log.Info("draining", "for", limit, "flows", p.stack.Stats().Flows)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := p.stack.Shutdown(ctx); err != nil {
		p.log.Warn("connections were reset", "err", err)
	}
}

// summary says how all flows have ended, the most frequent causes first.
func (p *program) summary() {
	st := p.stack.Stats()
	attrs := []any{"up", time.Since(p.started).Round(time.Second), "bytes from clients", st.BytesIn, "bytes to clients", st.BytesOut}
	for network, by := range p.causes.Snapshot() {
		causes := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
			return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
		})
		var group []any
		for _, c := range causes {
			group = append(group, c, by[c])
		}
		attrs = append(attrs, slog.Group(network, group...))
	}
	var dropped uint64
	for _, n := range st.Drops {
		dropped += n
	}
	p.log.Info("ended", append(attrs, "packets dropped", dropped)...)
}

// logFlow logs a flow that has ended, at level debug and in the log of flows.
func (p *program) logFlow(f stack.Flow) {
	debug := p.log.Enabled(context.Background(), slog.LevelDebug)
	if !debug && p.flows == nil {
		return
	}
	name, via := p.describe(f)
	to := "" // of a socket with many destinations
	if f.Destination.IsValid() {
		to = f.Destination.String()
	}
	attrs := []any{
		"id", uint64(f.ID), "network", f.Network, "client", f.Source, "to", to, "name", name, "via", via,
		"in", f.In, "out", f.Out, "took", f.Duration(time.Now()).Round(time.Millisecond), "cause", control.CauseOf(f.Cause),
	}
	if f.Cause != nil && f.Cause.Error() != control.CauseOf(f.Cause) {
		attrs = append(attrs, "why", f.Cause.Error())
	}
	if debug {
		p.log.Debug("flow", attrs...)
	}
	if p.flows != nil {
		p.flows.Info("flow", attrs...)
	}
}

// describe says by what name a flow's destination is known, and by which outbound it goes, or
// would after a reload.
func (p *program) describe(f stack.Flow) (name, via string) {
	name = p.nameOf(f.Source, f.Destination)
	if f.Destination.IsValid() {
		_, via = p.router.Find(outbound.Flow{Network: f.Network, Source: f.Source, Destination: f.Destination, Name: name})
	}
	return name, via
}

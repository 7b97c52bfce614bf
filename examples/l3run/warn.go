package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// warnings is a slog.Handler that writes one line for each record from warnings on, as
// l3run's other messages are: without time and level.
type warnings struct {
	attrs string

	mu *sync.Mutex // of w
	w  io.Writer
}

func newWarnings(w io.Writer) *warnings { return &warnings{mu: new(sync.Mutex), w: w} }

// Enabled implements slog.Handler.
func (h *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *warnings) Handle(_ context.Context, r slog.Record) error {
	line := new(strings.Builder)
	line.WriteString("l3run: " + r.Message + h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		line.WriteString(attr(a))
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, line.String()+"\n")
	return err
}

// attr is how an attribute stands in a line: an error needs no name.
func attr(a slog.Attr) string {
	if a.Key == "err" {
		return fmt.Sprint(": ", a.Value)
	}
	return fmt.Sprint(" ", a.Key, "=", a.Value)
}

// WithAttrs implements slog.Handler.
func (h *warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += attr(a)
	}
	return &with
}

// WithGroup implements slog.Handler. Nobody here makes groups.
func (h *warnings) WithGroup(string) slog.Handler { return h }

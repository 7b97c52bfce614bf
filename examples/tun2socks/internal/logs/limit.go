package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// limiter passes records on, but of equal warnings and errors the first only: those that
// follow within the window are counted, and at its end the last is passed on with that
// count, as "repeated". Equal are records with the same level and message, whatever their
// attributes.
type limiter struct {
	next slog.Handler
	*repeats
}

// repeats is what the handlers of one logger share.
type repeats struct {
	window time.Duration

	mu     sync.Mutex // a leaf
	byKey  map[key]*entry
	closed bool
}

type key struct {
	level   slog.Level
	message string
}

// entry is a message that was logged within the window.
type entry struct {
	count int // since
	last  slog.Record
	via   slog.Handler
	timer *time.Timer
}

// maxKeys bounds the messages that are remembered; further ones are all logged. There are
// fewer in the program: messages do not hold what differs.
const maxKeys = 256

func newLimiter(next slog.Handler, window time.Duration) *limiter {
	return &limiter{next, &repeats{window: window, byKey: make(map[key]*entry)}}
}

// Enabled implements slog.Handler.
func (l *limiter) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (l *limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limiter{l.next.WithAttrs(attrs), l.repeats}
}

// WithGroup implements slog.Handler.
func (l *limiter) WithGroup(name string) slog.Handler {
	return &limiter{l.next.WithGroup(name), l.repeats}
}

// Handle implements slog.Handler.
func (l *limiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !l.first(r) {
		return nil
	}
	return l.next.Handle(ctx, r)
}

// first tells whether r is to be logged now.
func (l *limiter) first(r slog.Record) bool {
	k := key{r.Level, r.Message}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byKey[k]; e != nil {
		e.count++
		e.last, e.via = r.Clone(), l.next
		return false
	}
	if len(l.byKey) < maxKeys && !l.closed {
		e := new(entry)
		e.timer = time.AfterFunc(l.window, func() { l.end(k, e) })
		l.byKey[k] = e
	}
	return true
}

// end is the end of e's window. What repeats has the next one at once.
func (r *repeats) end(k key, e *entry) {
	r.mu.Lock()
	count, last, via := e.count, e.last, e.via
	switch {
	case r.closed:
		count = 0
	case count == 0:
		delete(r.byKey, k)
	default:
		e.count = 0
		e.timer.Reset(r.window)
	}
	r.mu.Unlock()
	flush(count, last, via)
}

// close logs what is still counted, and counts no more.
func (r *repeats) close() {
	r.mu.Lock()
	all := r.byKey
	r.byKey, r.closed = nil, true
	for _, e := range all {
		e.timer.Stop()
	}
	r.mu.Unlock()
	for _, e := range all {
		flush(e.count, e.last, e.via)
	}
}

func flush(count int, r slog.Record, via slog.Handler) {
	if count == 0 {
		return
	}
	if count > 1 {
		r.AddAttrs(slog.Int("repeated", count))
	}
	_ = via.Handle(context.Background(), r) // as slog itself does
}

package logs

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"l3extract/examples/tun2socks/internal/config"
)

// Window is how long a warning that repeats is one line.
const Window = 10 * time.Second

// Log is a logger whose level can be changed. All methods may be called at once.
type Log struct {
	*slog.Logger
	level   slog.LevelVar
	repeats *repeats
}

// New returns a Log that writes to w.
func New(w io.Writer, level config.Level) *Log {
	l := new(Log)
	l.level.Set(slog.Level(level))
	limit := newLimiter(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &l.level, ReplaceAttr: redact}), Window)
	l.Logger, l.repeats = slog.New(limit), limit.repeats
	return l
}

// SetLevel changes what is logged.
func (l *Log) SetLevel(level config.Level) { l.level.Set(slog.Level(level)) }

// Close logs what repeated since it was logged last. Nothing is lost that is logged later.
func (l *Log) Close() { l.repeats.close() }

// redact hides the credentials of URLs, also of those that errors of other packages hold.
func redact(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(config.Redact(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.StringValue(config.Redact(v.Error()))
		case fmt.Stringer:
			a.Value = slog.StringValue(config.Redact(v.String()))
		}
	}
	return a
}

// File is a file of mode 0600 with a line of JSON for each flow. What cannot be written is
// counted: the flows go on.
type File struct {
	*slog.Logger
	f *os.File

	mu     sync.Mutex
	failed int
	err    error
}

// OpenFile opens or makes the file, and adds to it. It refuses one that others can read.
func OpenFile(name string) (*File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s: others may read it (mode %v); want 0600", name, fi.Mode().Perm())
		return nil, errors.Join(err, f.Close())
	}
	file := &File{f: f}
	file.Logger = slog.New(slog.NewJSONHandler(file, nil))
	return file, nil
}

// Write implements io.Writer.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.f.Write(b)
	if err != nil {
		f.mu.Lock()
		f.failed++
		f.err = err
		f.mu.Unlock()
	}
	return n, err
}

// Close closes the file. Its error says how many lines were lost.
func (f *File) Close() error {
	err := f.f.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed > 0 {
		err = errors.Join(fmt.Errorf("flow log: %d lines were lost: %w", f.failed, f.err), err)
	}
	return err
}

package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/examples/tun2socks/internal/config"
	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// lines is a writer that several goroutines use.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }

// take returns the lines since the last call, without their times.
func (l *lines) take() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		line = strings.TrimSpace(line)
		all = append(all, line[strings.Index(line, "level="):])
	}
	l.b.Reset()
	return all
}

func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := New(&out, config.Level(slog.LevelInfo))
		want := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := out.take(); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		for i := range 5 {
			l.With("n", i).Warn("dial failed", "to", i)
			l.Info("not limited")
		}
		l.Error("dial failed") // another level is another message
		info := `level=INFO msg="not limited"`
		want("at once", `level=WARN msg="dial failed" n=0 to=0`, info, info, info, info, info, `level=ERROR msg="dial failed"`)
		time.Sleep(Window)
		want("after the window", `level=WARN msg="dial failed" n=4 to=4 repeated=4`)
		l.Warn("dial failed", "to", 7)
		want("in the next window")
		time.Sleep(Window)
		want("after it", `level=WARN msg="dial failed" to=7`)
		time.Sleep(Window)
		l.Warn("dial failed", "to", 8)
		want("after a quiet window", `level=WARN msg="dial failed" to=8`)
		l.Warn("dial failed", "to", 9)
		l.Warn("dial failed", "to", 10)
		l.Close()
		want("at the end", `level=WARN msg="dial failed" to=10 repeated=2`)
		l.Warn("late")
		l.Warn("late")
		want("after the end", "level=WARN msg=late", "level=WARN msg=late")
	})
}

func TestManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := New(&out, config.Level(slog.LevelInfo))
		defer l.Close()
		for i := range 2 * maxKeys {
			l.Warn(fmt.Sprint(i))
		}
		if n := len(out.take()); n != 2*maxKeys {
			t.Errorf("%d lines", n)
		}
		if n := len(l.repeats.byKey); n != maxKeys {
			t.Errorf("%d messages are remembered", n)
		}
	})
}

// TestNoPasswords: whatever holds a URL, its password does not show.
func TestNoPasswords(t *testing.T) {
	var out lines
	l := New(&out, config.Level(slog.LevelDebug))
	defer l.Close()
	const raw = "socks5://joe:sesame@h:1"
	u, _ := url.Parse(raw)
	wrong := strings.Replace(raw, ":1", ":port", 1)
	_, err := url.Parse(wrong)
	l.Info("x", "a", raw, "b", u, "c", err, "d", config.URL(raw), "e", config.Secret("sesame"), "f", fmt.Errorf("x: %w", err), "g", 5*time.Second)
	l.Info("message with " + raw)
	l.With("h", raw).WithGroup("g").Debug("x", slog.Group("in", "i", raw))
	got := strings.Join(out.take(), "\n")
	if strings.Contains(got, "sesame") || strings.Count(got, "***") < 8 || !strings.Contains(got, "g=5s") {
		t.Errorf("%s", got)
	}
	l.SetLevel(config.Silent)
	l.Error("x")
	if got := out.take(); len(got) > 0 {
		t.Errorf("silent: %q", got)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "flows")
	f, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Info("flow", "id", 1)
	if fi, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	f.f.Close()
	f.Info("flow", "id", 2)
	if err := f.Close(); err == nil || !strings.Contains(err.Error(), "1 lines were lost") {
		t.Errorf("%v", err)
	}
	b, _ := os.ReadFile(name)
	if !strings.Contains(string(b), `"id":1`) {
		t.Errorf("%s", b)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(name, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(name); err == nil || !strings.Contains(err.Error(), "others may read it") {
			t.Errorf("%v", err)
		}
	}
	if _, err := OpenFile(filepath.Join(name, "x")); err == nil {
		t.Error("no error")
	}
}

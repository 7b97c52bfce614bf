//go:build unix

package hooks

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a file")
	for _, c := range []struct{ command, want string }{
		{"", ""},
		{"   ", ""},
		{"true", ""},
		{`sh -c 'echo $TUN_DEVICE > "` + file + `"'`, ""},
		{"false", `x "false": exit status 1`},
		{`sh -c 'echo one; echo two >&2; echo; exit 3'`, `x "sh": exit status 3: two`},
		{"/nowhere/command", "no such file"},
		{`echo "open`, "EOF found when expecting closing quote"},
		{`sh -c 'head -c 100000 /dev/zero | tr "\0" x; echo; echo last; exit 1'`, ": last"},
		{`sh -c 'sleep 60 & exit 0'`, ""}, // what is left behind is waited for a second
	} {
		err := Run(t.Context(), "x", c.command, map[string]string{"TUN_DEVICE": "tun7"})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.command, err, c.want)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "tun7\n" {
		t.Errorf("the command has written %q", b)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	if err := Run(ctx, "x", "sleep 60", nil); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("cancelled: %v", err)
	}
}

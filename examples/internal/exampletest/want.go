package exampletest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Run is the core of an example's main function.
type Run = func(ctx context.Context, args []string, stdout io.Writer) error

// Want runs an example without arguments and compares what it prints with
// testdata/want.txt: a regular expression for each line, in order. A line of
// three dots stands for any number of lines.
func Want(t *testing.T, run Run) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", "want.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := run(t.Context(), nil, &got); err != nil {
		t.Errorf("it failed: %v", err)
	}
	if err := match(lines(string(want)), lines(got.String())); err != nil {
		t.Errorf("%v\nall that it printed:\n%s", err, &got)
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// match compares lines as .ci/run does.
func match(want, got []string) error {
	g := 0
	for w, line := range want {
		if line == "..." {
			if w+1 == len(want) {
				return nil
			}
			for g < len(got) && !full(want[w+1]).MatchString(got[g]) {
				g++
			}
			continue
		}
		if g == len(got) {
			return fmt.Errorf("line %d: want %s, but there is no more output", w+1, line)
		}
		if !full(line).MatchString(got[g]) {
			return fmt.Errorf("line %d: want %s\ngot  %s", w+1, line, got[g])
		}
		g++
	}
	if g < len(got) {
		return fmt.Errorf("more output than wanted: %s", got[g])
	}
	return nil
}

func full(line string) *regexp.Regexp { return regexp.MustCompile("^" + line + "$") }

// Refuses checks that an example ends with one line that names the reason when
// it is given these arguments.
func Refuses(t *testing.T, run Run, reason string, args ...string) {
	t.Helper()
	err := run(t.Context(), args, io.Discard)
	if err == nil || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q: %v, want one line with %q", args, err, reason)
	}
}

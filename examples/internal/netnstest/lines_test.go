package netnstest

import (
	"strings"
	"testing"

	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestLines(t *testing.T) {
	l := Follow(strings.NewReader("one a\ntwo b\ntwo a\n"))
	if got := l.Await(t, "a", "two"); got != "two a\n" {
		t.Errorf("awaited %q", got)
	}
	<-l.Ended()
	if got := l.String(); strings.Count(got, "\n") != 3 {
		t.Errorf("all of it is %q", got)
	}
}

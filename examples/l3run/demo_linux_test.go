package main

import (
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// flowRow is a line of the demo's table: destination, bytes received.
var flowRow = regexp.MustCompile(`(?m)^tcp +\S+ +(\S+) +\d+ +(\d+) +\S+ +\S+$`)

// checkDemo looks for both connections and their bytes in the demo's table.
func checkDemo(t *testing.T, r result) {
	t.Helper()
	if r.code != 0 || r.errout != "" {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.errout)
	}
	received := make(map[string]int)
	for _, row := range flowRow.FindAllStringSubmatch(r.out, -1) {
		received[row[1]], _ = strconv.Atoi(row[2])
	}
	for _, host := range demoHosts {
		if n := received[host.String()]; n < demoSize {
			t.Errorf("%v: the table has %d bytes, want at least %d\n%s", host, n, demoSize, r.out)
		}
	}
}

func TestDemo(t *testing.T) {
	w := newWorld(t)
	as(t, func(t *testing.T, c *caller) {
		r := w.outside.run(t, c.l3run(t))
		checkDemo(t, r)
		if strings.Contains(r.out, "pipe") {
			t.Errorf("it ran over a pipe\n%s", r.out)
		}
	})
}

// Where /dev/net/tun is root's own, the demo makes do and a command is told how
// to allow it.
func TestTUNForRootOnly(t *testing.T) {
	w := newWorld(t)
	c := newCaller(t, stranger)
	needUserNS(t, c)
	c.TUNMode = fs.FileMode(0o600)
	r := w.outside.run(t, c.l3run(t))
	checkDemo(t, r)
	if !strings.Contains(lines(r.out)[0], "in-memory pipe instead") {
		t.Errorf("the demo does not say that it runs over a pipe\n%s", r.out)
	}
	r = w.outside.run(t, c.l3run(t, "--", "echo", "ran"))
	if r.code != exitSetup || r.out != "" || !strings.Contains(r.errout, "sudo chmod 0666 /dev/net/tun") {
		t.Errorf("exit %d, %q\n%s", r.code, r.out, r.errout)
	}
}

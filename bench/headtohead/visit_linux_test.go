package main

import (
	"os"
	"testing"
	"time"
)

// TestMain lets the test binary play the roles of the program.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case roleServer, roleClient, roleProxy:
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("7 (a) b ) S 1 7 7 0 -1 4194304 9 0 0 0 5 6 7 8 20 0 1 0 9 9 9\n"))
	if want := 260 * time.Millisecond; got != want || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := parseStat([]byte("7 (a) S 1")); err == nil {
		t.Error("a line that is too short is taken")
	}
}

// TestVisit measures the plain proxy, briefly.
func TestVisit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &visit{
		program: copying("proxy", self), self: self, span: 100 * time.Millisecond, figures: make(figures),
		progress: func(string) {},
	}
	if err := v.run(); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(bulkNames, connections, pingP50, pingP99, memory, memoryIdle) {
		if v.figures[name] <= 0 {
			t.Errorf("no figure for %s in %v", name, v.figures)
		}
	}
}

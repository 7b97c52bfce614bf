package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"l3extract/internal/leak"
)

var bodySize = flag.Int64("body", 64<<20, "size in bytes of the body that curl fetches through l3run")

// roles are what the test binary can be when it is started under one of these
// names.
var roles = map[string]func(args []string) int{}

// work is a directory that any user may enter; it goes away with the tests.
var work string

func TestMain(m *testing.M) {
	if role := roles[os.Args[0]]; role != nil {
		os.Exit(role(os.Args[1:]))
	}
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	var err error
	if work, err = os.MkdirTemp("", "l3run-test-"); err == nil {
		err = os.Chmod(work, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(work)
	code := m.Run()
	if left := leak.Wait(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "leaked goroutines:\n%s\n", left)
		code = 1
	}
	return code
}

// built is the program under test, as a user builds it.
var built = sync.OnceValues(func() (string, error) {
	name := filepath.Join(work, "l3run")
	args := append([]string{"build", "-o", name}, buildFlags...)
	out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

// copied is this test binary where any user may run it.
var copied = sync.OnceValues(func() (string, error) {
	name := filepath.Join(work, "test-binary")
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	return name, os.WriteFile(name, b, 0o755)
})

func program(t *testing.T) string {
	t.Helper()
	name, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

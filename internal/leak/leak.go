package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience bounds how long goroutines that were told to end may take: a loaded
// machine schedules them late, a leaked one is still there after any wait.
const patience = 10 * time.Second

// Main runs the tests of m and exits; it exits with 1 when goroutines that the
// tests started are still running once all tests have ended.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := Wait(); left != "" {
			fmt.Fprintf(os.Stderr, "leaked goroutines:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// Wait returns the stacks of the goroutines that are still running after a
// bounded wait, or "" when none is left.
func Wait() string {
	deadline := time.Now().Add(patience)
	for {
		left := running()
		if left == "" || time.Now().After(deadline) {
			return left
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ours tells a goroutine of the code under test from those of the runtime, the
// testing package and the caller.
func ours(stack string) bool {
	for _, known := range []string{
		"testing.Main(", "testing.(*M).", "testing.runTests", "testing.tRunner(",
		"testing.runFuzzing(", "testing.runFuzzTests(", "runtime.goexit0",
		"os/signal.signal_recv", "os/signal.loop", "runtime.ensureSigM",
		"created by runtime.gc", "leak.running(", "created by testing.",
		"internal/fuzz.", "runtime/trace.Start", "runtime/pprof.",
	} {
		if strings.Contains(stack, known) {
			return false
		}
	}
	return strings.TrimSpace(stack) != ""
}

func running() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, stack := range strings.Split(string(buf), "\n\n") {
		if ours(stack) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

package leak

import (
	"strings"
	"testing"
)

func blockOn(stop chan struct{}) { <-stop }

func TestRunningFindsALeak(t *testing.T) {
	stop := make(chan struct{})
	go blockOn(stop) // ends with this test
	for !strings.Contains(running(), "leak.blockOn") {
	}
	close(stop)
	if left := Wait(); strings.Contains(left, "leak.blockOn") {
		t.Fatalf("still running: %s", left)
	}
}

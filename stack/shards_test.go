package stack

import (
	"runtime"
	"testing"
)

// shards is Config.Shards of the stacks that tests make; those that run in parallel
// with others make theirs by themselves.
var shards int

// TestShards: with several engines everything is as it is with one.
func TestShards(t *testing.T) {
	shards = 3
	t.Cleanup(func() { shards = 0 })
	for _, tc := range []struct {
		name string
		test func(*testing.T)
	}{
		{"Conn", TestConn},
		{"HTTP", TestHTTP},
		{"NarrowPipe", TestNarrowPipe},
		{"IPLayer", TestIPLayer},
		{"SpoofedTooBig", TestSpoofedTooBig},
		{"FragmentsRefused", TestFragmentsRefused},
		{"Listen", TestListenWildcard},
		{"Errors", TestErrors},
		{"Resets", TestResetNeverReadsAsEOF},
		{"Flood", TestFlood},
		{"Shutdown", TestShutdown},
		{"EndRaces", TestEndRaces},
	} {
		t.Run(tc.name, tc.test)
	}
}

// TestWorkers: the goroutines that engines cost are told.
func TestWorkers(t *testing.T) {
	defer func() { shards = 0 }()
	for _, n := range []int{1, 3} {
		shards = n
		c, _ := pair(t, Config{}, Config{})
		if _, err := c.ready(soon(t)); err != nil {
			t.Fatal(err)
		}
		if got, want := c.Stats().Workers, n*runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%d shards: %d workers, want %d", n, got, want)
		}
	}
}

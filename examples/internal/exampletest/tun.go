package exampletest

import (
	"bufio"
	"context"
	"io"
	"testing"
)

// OnTUN runs an example with a TUN interface in the namespace of the tests until
// the test ends; it returns when the example serves. It skips the test where
// there can be no such interface.
func OnTUN(t *testing.T, run Run) {
	t.Helper()
	if noTUN != "" {
		t.Skip(noTUN)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { // the example; awaited when the test ends
		err := run(ctx, []string{"-tun", "l3ex%d"}, w)
		w.Close()
		done <- err
	}()
	out := bufio.NewScanner(r)
	for out.Scan() && out.Text() != "ready" {
		t.Log(out.Text())
	}
	drained := make(chan struct{})
	go func() { // what it prints; ends with it
		defer close(drained)
		for out.Scan() {
			t.Log(out.Text())
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it failed: %v", err)
		}
		<-drained
	})
}

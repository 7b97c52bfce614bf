package main

import (
	"testing"
	"testing/synctest"
	"time"

	"l3extract/stack"
)

// TestTrim: memory is given back once after a rush, and never without one.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		tr := &trimmer{free: func() { n++ }}
		flows := func(open, end int) {
			for range open {
				tr.opened(stack.Flow{})
			}
			for range end {
				tr.closed(stack.Flow{})
			}
			time.Sleep(trimAfter + 1)
			synctest.Wait()
		}
		for _, step := range []struct{ open, end, trims int }{
			{trimAbove - 1, trimAbove - 1, 0}, // no rush
			{trimAbove, trimAbove / 2, 0},     // half of one is still there
			{0, 1, 1},                         // no more
			{0, trimAbove/2 - 1, 1},           // the rest is no rush of its own
			{2 * trimAbove, 2 * trimAbove, 2}, // another
		} {
			flows(step.open, step.end)
			if n != step.trims {
				t.Errorf("after %+v: %d trims", step, n)
			}
		}
		tr.opened(stack.Flow{})
		flows(trimAbove, trimAbove)
		tr.stop()
		flows(trimAbove, trimAbove)
		if n != 3 {
			t.Errorf("%d trims, the last after the end", n)
		}
	})
}

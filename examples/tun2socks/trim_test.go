package main

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/stack"
)

// TestTrim: memory is given back once after a rush, and never without one.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		var mu sync.Mutex
		tr := &trimmer{rush: trimRush, free: func() { mu.Lock(); defer mu.Unlock(); n++ }}
		trims := func() int { mu.Lock(); defer mu.Unlock(); return n }
		flows := func(open, end int) {
			for range open {
				tr.opened(stack.Flow{})
			}
			for range end {
				tr.closed(stack.Flow{})
			}
			time.Sleep(trimAfter / 2)
			synctest.Wait()
		}
		quiet := func() { time.Sleep(10 * trimAfter); synctest.Wait() }
		for i, step := range []struct{ open, end, trims int }{
			{trimRush - 1, trimRush - 1, 0},     // no rush
			{trimRush, 0, 1},                    // one
			{0, trimRush / 2, 1},                // half of it is still there
			{0, 1, 2},                           // no more
			{1, 1, 2},                           // a short connection
			{trimRush, trimRush, 3},             // a rush that has come and gone at once
			{9 * trimRush, 0, 4},                // another
			{0, 9*trimRush + trimRush/2 - 1, 5}, // its end
		} {
			flows(step.open, step.end)
			quiet()
			if n := trims(); n != step.trims {
				t.Errorf("step %d: %d trims, want %d", i, n, step.trims)
			}
		}
		for range 20 { // one that goes on
			flows(trimRush, 0)
			if trims() != 5 {
				t.Fatal("trimmed in the middle of a rush")
			}
			if tr.live > 9*trimRush {
				break // a tenth more is not much any more
			}
		}
		quiet()
		if n := trims(); n != 6 {
			t.Errorf("%d trims after a long rush", n)
		}
		flows(0, tr.live)
		tr.stop()
		quiet()
		if n := trims(); n != 6 {
			t.Errorf("%d trims, the last after the end", n)
		}
	})
}

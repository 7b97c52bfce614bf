package tcp

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestCrewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(4)
		release := make(chan struct{})
		started := 0
		for c.start(func() { <-release }) {
			started++
		}
		if started != 4+idleWorkers {
			t.Errorf("%d jobs at once", started)
		}
		close(release)
		synctest.Wait()
		if n := c.idle.Load(); n != idleWorkers {
			t.Errorf("%d idle workers, want %d", n, idleWorkers)
		}
		var ran atomic.Int32
		for range 100 {
			if !c.start(func() { ran.Add(1) }) {
				t.Error("refused")
			}
			synctest.Wait()
		}
		if ran.Load() != 100 || c.idle.Load() != idleWorkers {
			t.Errorf("%d ran, %d idle", ran.Load(), c.idle.Load())
		}
		c.stop()
		if c.start(func() { t.Error("ran after stop") }) {
			t.Error("started after stop")
		}
	})
}

func TestCrewWithoutBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(-1)
		release := make(chan struct{})
		for range 500 {
			if !c.start(func() { <-release }) {
				t.Fatal("refused")
			}
		}
		close(release)
		c.stop()
	})
}

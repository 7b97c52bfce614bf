package main

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// When a command has ended, a kernel may still hold what it wrote last. On the
// host such a socket lives on without its process, but a network namespace ends
// with its last one and takes the data along, and so do the stack and the sockets
// outside. So the namespace is kept until its sockets have got rid of their data,
// and the stack until that has arrived.

const (
	drainTick = 5 * time.Millisecond
	// A far end that takes nothing for so long is not waited for.
	drainStuck = 10 * time.Second
	// With nothing left in the sockets outside, what is in between needs as long
	// as a busy machine takes to move it.
	drainQuiet = 100 * time.Millisecond
)

// drain waits until what the command wrote has arrived, or ctx ends, or nothing
// moves any more.
func (p *spawned) drain(ctx context.Context, s *session) {
	if p.sockets != nil {
		watch(ctx, func() (time.Duration, uint64) {
			n, bytes, err := sockets{p.sockets}.unsent()
			if err != nil || n == 0 {
				return 0, 0
			}
			return drainStuck, bytes
		})
	}
	watch(ctx, func() (time.Duration, uint64) {
		closed, read := false, uint64(0)
		for f := range s.stack.Flows() {
			if f.Network == "tcp" && f.State == "CLOSE-WAIT" { // the command's side is closed
				closed = true
				read += f.In
			}
		}
		switch unsent := s.upstreams.unsent(); {
		case !closed:
			return 0, 0
		case unsent > 0:
			return drainStuck, read<<32 + unsent // each number tells a change of either
		default:
			return drainQuiet, read << 32
		}
	})
}

// unsent returns how many bytes the other ends have not acknowledged.
func (u *upstreams) unsent() (n uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.each(func(fd uintptr) {
		if queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n += uint64(queued)
		}
	})
	return n
}

// watch calls look until it has no patience any more, or its number has not
// changed for so long.
func watch(ctx context.Context, look func() (patience time.Duration, progress uint64)) {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	var last uint64
	moved := time.Now()
	for {
		patience, progress := look()
		if progress != last {
			last, moved = progress, time.Now()
		}
		if patience == 0 || time.Since(moved) >= patience {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

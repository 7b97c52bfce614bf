package main

import (
	"context"
	"slices"
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
	// What a proxy has taken is out of sight: over TLS, SSH or a Unix socket nothing tells
	// that it has arrived. Then it is over once nothing has moved for so long.
	drainQuiet = 500 * time.Millisecond
)

// drain waits until what the command wrote has arrived, or ctx ends, or nothing
// moves any more.
func (p *spawned) drain(ctx context.Context, s *session) {
	if p.sockets != nil {
		watch(ctx, func() (bool, uint64) {
			n, bytes, err := sockets{p.sockets}.unsent()
			return err != nil || n == 0, bytes
		})
	}
	quiet, last := time.Duration(0), uint64(0)
	watch(ctx, func() (bool, uint64) {
		closed, read := 0, uint64(0)
		for f := range s.stack.Flows() {
			// The command's side is closed. What goes to an address of the stack
			// has no upstream.
			if f.Network == "tcp" && f.State == "CLOSE-WAIT" && !slices.Contains(stackAddrs, f.Destination.Addr()) {
				closed++
				read += f.In
			}
		}
		arrived, unsent := s.upstreams.progress()
		now := read<<32 + unsent // each part tells a change of either
		if quiet += drainTick; now != last || unsent > 0 {
			quiet, last = 0, now
		}
		return arrived >= closed || s.way.proxy != nil && quiet >= drainQuiet, now
	})
}

// progress returns how many sockets have got everything to the other end, our FIN
// included, and how many bytes the others have not.
func (u *upstreams) progress() (arrived int, unsent uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.each(func(fd uintptr) {
		if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && i.State == tcpFinWait2 {
			arrived++
		} else if queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			unsent += uint64(queued)
		}
	})
	return arrived, unsent
}

// watch calls look until it says that all is done, or its number has stayed the
// same for as many looks as fit drainStuck: time in which this process did not run
// does not count.
func watch(ctx context.Context, look func() (done bool, progress uint64)) {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	var last uint64
	for stuck := time.Duration(0); stuck < drainStuck; stuck += drainTick {
		done, progress := look()
		if done {
			return
		}
		if progress != last {
			last, stuck = progress, 0
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

package main

import (
	"context"
	"strings"
	"sync"
	"syscall"
)

// upstreams knows the TCP sockets that were dialled for the command, to tell
// when what it wrote last has arrived. All methods may be called at once.
type upstreams struct {
	mu    sync.Mutex
	open  []syscall.RawConn
	sweep int // when to forget the closed ones: at this length
}

const upstreamsSweep = 64

// track is direct.Dialer's Control.
func (u *upstreams) track(_ context.Context, network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.open) >= max(u.sweep, upstreamsSweep) {
		u.each(func(uintptr) {})
		u.sweep = 2 * len(u.open) // so that looking costs no more than dialling
	}
	u.open = append(u.open, c)
	return nil
}

// each calls f with every socket that is open, and forgets the others. The caller
// holds the lock.
func (u *upstreams) each(f func(fd uintptr)) {
	left := u.open[:0]
	for _, c := range u.open {
		if c.Control(f) == nil {
			left = append(left, c)
		}
	}
	clear(u.open[len(left):])
	u.open = left
}

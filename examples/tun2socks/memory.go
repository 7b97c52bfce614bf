package main

import (
	"runtime/debug"

	"l3extract/stack"
)

// limitMemory has the stack hold at most so many bytes, if that is not 0. The stack counts
// what flows and their data take, and the runtime what it keeps beside that: garbage is
// collected the more often the less there is to spare.
func limitMemory(cfg *stack.Config, bytes int64) {
	if bytes <= 0 {
		return
	}
	cfg.MemoryLimit = bytes
	const own = 16 << 20 // the relay's buffers, stacks, the runtime's own
	debug.SetMemoryLimit(bytes + bytes/4 + own)
}

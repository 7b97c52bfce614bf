package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"l3extract/stack"
)

// minMemory is as little as makes sense: some hundred connections.
const minMemory = 8 << 20

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

// bytesFlag is a flag.Value of so many bytes, written as 64MiB, 64M, or plain.
type bytesFlag int64

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"", 1}}

// String implements flag.Value.
func (f *bytesFlag) String() string {
	if *f == 0 {
		return ""
	}
	for i := 2; i >= 0; i-- {
		if u := units[i]; int64(*f)%u.bytes == 0 {
			return fmt.Sprint(int64(*f)/u.bytes, u.name)
		}
	}
	return fmt.Sprint(int64(*f))
}

// Set implements flag.Value.
func (f *bytesFlag) Set(s string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= 0 || n > (1<<62)/u.bytes {
			break
		}
		if n *= u.bytes; n < minMemory {
			return fmt.Errorf("want at least %dMiB", minMemory>>20)
		}
		*f = bytesFlag(n)
		return nil
	}
	return errors.New("want a number of bytes, as 64MiB")
}

package forward

import (
	"os"

	"golang.org/x/sys/unix"
)

// polled: upstream sockets have no goroutine here.
const polled = true

// fileLimit returns how many files the process may open.
func fileLimit() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int(min(l.Cur, 1<<30))
}

// openFiles returns how many it has open.
func openFiles() int {
	names, _ := os.ReadDir("/proc/self/fd")
	return len(names)
}

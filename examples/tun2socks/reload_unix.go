//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// reloads returns what receives when the file is to be read again, and its end.
func reloads() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 1) // one that waits is enough: it reads what is there then
	signal.Notify(ch, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}
